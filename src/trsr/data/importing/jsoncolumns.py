"""Some fields of lines of JSON as columns: Polars reads a block at once where all is well, Python by line where not.

For files of events, which are long and of which a few plain fields are wanted. What a record of events must have is
checked afterwards, on columns; `JsonLines` is for records that take more than that.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from trsr.data.importing.blocks import Block, blocks
from trsr.data.importing.jsonlines import BadRowError, JsonLines, optional_number, optional_text
from trsr.data.importing.rows import LINE, RowBatch, faults_frame
from trsr.data.importing.source import SourceFile

_BLOCK = 16 * 2**20
_MISREAD = r"^\s*[\[{]|^(?:true|false)$|\x00"
"""Texts that Polars makes of what is none: lists, objects, truth values, halves of surrogate pairs."""


@dataclass(frozen=True)
class JsonColumns:
    """The fields in `schema` (String, Float64 or Int64), null where a record lacks one; other fields are not read.

    A number is a text too. A record with a field of another kind is a fault. `literals` as in `JsonLines`.
    """

    schema: Mapping[str, type[pl.DataType]]
    literals: bool = False

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows, in batches."""
        exact = JsonLines(self._pick, self.schema, self.literals)
        with file.open() as stream:
            for block in blocks(stream, size=_BLOCK):
                frame = self._fast(block)
                yield exact.batch(block) if frame is None else RowBatch(frame, faults_frame())

    def _fast(self, block: Block) -> pl.DataFrame | None:
        """What Polars reads, None where the block wants a closer look."""
        if block.data[:1] != b"{" or block.data[1:2] == b"'":
            return None
        try:
            frame = pl.read_ndjson(io.BytesIO(block.data), schema=dict(self.schema))
        except pl.exceptions.PolarsError:
            return None
        if frame.height != block.lines:
            return None
        texts = [name for name, kind in self.schema.items() if kind == pl.String]
        strange = pl.any_horizontal(pl.col(texts).str.contains(_MISREAD).any())
        if texts and frame.select(strange).item():
            return None
        number = pl.int_range(block.line, block.line + frame.height, dtype=pl.Int64, eager=True)
        return frame.select(number.alias(LINE), *self.schema)

    def _pick(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: _VALUES[kind](record, name) for name, kind in self.schema.items()}


def absent(name: str) -> pl.Expr:
    """Whether a text is missing or blank."""
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")


def _as_text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if isinstance(value, bool):
        raise BadRowError(f"{name} is no text")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else optional_text(record, name)


def _whole(record: Mapping[str, Any], name: str) -> int | None:
    whole = record.get(name)
    if type(whole) is int and -(2**63) <= whole < 2**63:
        return whole
    value = optional_number(record, name)
    if value is None:
        return None
    if not value.is_integer() or abs(value) >= 2**53:
        raise BadRowError(f"{name} is no whole number")
    return int(value)


_VALUES: Mapping[type[pl.DataType], Callable[[Mapping[str, Any], str], Any]] = {
    pl.String: _as_text,
    pl.Float64: optional_number,
    pl.Int64: _whole,
}
