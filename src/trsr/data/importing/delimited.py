"""Delimited text (CSV, TSV, `::`): Polars reads a block at once where all is well, this module row by row where not.

What Polars read is believed only if every row has as many fields as belong and every line of the block is accounted
for; so a bad row is found with its line, wherever it is, and costs the speed of its own block only.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from trsr.data.importing.blocks import Block, blocks
from trsr.data.importing.rows import LINE, RowBatch, fault, faults_frame
from trsr.data.importing.source import SourceFile
from trsr.errors import DataError

_LONGEST_RECORD = 200
"""Lines of one record at most; a quote that is open for longer was never closed."""

_Fault = tuple[int, str, str]
_Record = tuple[int, list[str]]


@dataclass(frozen=True)
class Delimited:
    """`columns` are the names of all fields in order, None where the first row says them.

    `wanted` are those that are read; where the first row gives the names, all of `wanted` but the `optional` ones must
    be among them, and an optional one that is not there is null. `quoted`: a field in double quotes may hold
    separators and line feeds. Values are text, null where a field is empty.
    """

    wanted: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    optional: tuple[str, ...] = ()
    separator: str = ","
    quoted: bool = True
    encoding: str = "utf-8"

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows; `DataError` for a first row without the names that are needed."""
        names = self.columns
        with file.open() as stream:
            for block in blocks(stream, b'"' if self.quoted else b""):
                if names is None:
                    names, block = self._header(block, file)
                if block.data:
                    yield self._batch(block, names)
        if names is None:
            raise DataError(f"{file.place}: the file is empty; fetch or write it again")

    def _header(self, block: Block, file: SourceFile) -> tuple[tuple[str, ...], Block]:
        records, _ = _records(_lines(block, self.encoding), block.line, self)
        first = next(records, None)
        if first is None:
            raise DataError(f"{file.place}: line 1 holds no names of columns; is it {self.encoding} text?")
        line, names = first
        names = [name.strip() for name in names]
        for name in self.wanted:
            if name not in names and name not in self.optional:
                known = ", ".join(names)[:200]
                raise DataError(
                    f"{file.place}: line {line}: column {name} is missing (columns: {known}); add or rename it"
                )
        if len(set(names)) < len(names):
            raise DataError(f"{file.place}: line {line}: a name of a column is there twice; rename one")
        end = line - block.line + 1 + sum(name.count("\n") for name in first[1])
        at = 0
        for _ in range(end):
            at = block.data.index(b"\n", at) + 1
        return tuple(names), Block(block.data[at:], block.line + end)

    def _batch(self, block: Block, names: Sequence[str]) -> RowBatch:
        frame = self._fast(block, names)
        faults = faults_frame()
        if frame is None:
            frame, faults = self._slow(block, names)
        missing = [pl.lit(None, pl.String).alias(name) for name in self.wanted if name not in names]
        return RowBatch(frame.with_columns(missing).select(LINE, *self.wanted), faults)

    def _fast(self, block: Block, names: Sequence[str]) -> pl.DataFrame | None:
        """What Polars reads, None where the block wants a closer look."""
        readable = self._readable(block, len(names))
        if readable is None:
            return None
        data, separator = readable
        quotes = self.quoted and b'"' in data
        read = [place for place, name in enumerate(names) if quotes or name in self.wanted or name == names[-1]]
        try:
            frame = pl.read_csv(
                io.BytesIO(data),
                has_header=False,
                schema=dict.fromkeys(names, pl.String),
                columns=read,
                separator=separator,
                quote_char='"' if self.quoted else None,
            )
        except pl.exceptions.PolarsError:
            return None
        inside = _counts_inside(frame, "\n") if quotes and frame.height != block.lines else None
        if frame.height + (0 if inside is None else int(inside.sum())) != block.lines:
            return None
        if self.quoted and not _all_fields(frame, data, separator, names):
            return None
        number = pl.int_range(block.line, block.line + frame.height, dtype=pl.Int64, eager=True)
        if inside is not None:
            number = number + inside.cum_sum().shift(1, fill_value=0).cast(pl.Int64)
        return frame.with_columns(number.alias(LINE))

    def _readable(self, block: Block, fields: int) -> tuple[bytes, str] | None:
        """The block in UTF-8 with a separator of one character; None where it is seen that Polars would misread it."""
        data, separator = block.data, self.separator
        if self.encoding != "utf-8":
            data = data.decode(self.encoding, errors="surrogateescape").encode(errors="surrogateescape")
        if b"\0" in data or (not self.quoted and b"\r" in data):
            return None
        if len(separator) > 1:
            if b"\t" in data:
                return None
            data, separator = data.replace(separator.encode(), b"\t"), "\t"
        if not self.quoted and data.count(separator.encode()) != block.lines * (fields - 1):
            return None
        return data, separator

    def _slow(self, block: Block, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        records, faults = _records(_lines(block, self.encoding), block.line, self)
        rows, kept = [], len(names)
        for line, values in records:
            if len(values) == kept:
                rows.append((line, *(value or None for value in values)))
            else:
                faults.append(fault(line, f"{len(values)} fields where {kept} belong", self.separator.join(values)))
        schema = {LINE: pl.Int64, **dict.fromkeys(names, pl.String)}
        return pl.DataFrame(rows, schema=schema, orient="row"), faults_frame(sorted(faults))


def _all_fields(frame: pl.DataFrame, data: bytes, separator: str, names: Sequence[str]) -> bool:
    """Whether no row is short: Polars fills one up with nulls, which separators that are not there tell."""
    if not frame[names[-1]].null_count():
        return True
    inside = int(_counts_inside(frame, separator).sum()) if b'"' in data else 0
    return data.count(separator.encode()) - inside == frame.height * (len(names) - 1)


def _counts_inside(frame: pl.DataFrame, what: str) -> pl.Series:
    """How often `what` stands in the fields of each row."""
    counts = (pl.col(name).str.count_matches(what, literal=True).fill_null(0) for name in frame.columns)
    return frame.select(pl.sum_horizontal(counts).alias("inside")).to_series()


def _lines(block: Block, encoding: str) -> list[str]:
    """The lines; half a surrogate pair stands for a byte that is no text."""
    return block.data.decode(encoding, errors="surrogateescape").split("\n")[:-1]


def _no_text(text: str) -> str:
    """Why this is no text, "" if it is."""
    if "\0" in text:
        return "a NUL character in it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not text in the file's encoding"
    return ""


def _records(lines: list[str], first: int, form: Delimited) -> tuple[Iterator[_Record], list[_Fault]]:
    """Records with the line each begins at, as an iterator; the list gets the faults while it is read."""
    faults: list[_Fault] = []
    return (_quoted(lines, first, form, faults) if form.quoted else _plain(lines, first, form, faults)), faults


def _plain(lines: list[str], first: int, form: Delimited, faults: list[_Fault]) -> Iterator[_Record]:
    for line, text in enumerate(lines, first):
        if not text.strip():
            continue
        reason = _no_text(text)
        if reason:
            faults.append(fault(line, reason, text))
        else:
            yield line, text.removesuffix("\r").split(form.separator)


def _quoted(lines: list[str], first: int, form: Delimited, faults: list[_Fault]) -> Iterator[_Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        taken, values, reason = _record(lines, at, form)
        reason = reason or _no_text("\n".join(lines[at : at + taken]))
        if reason:
            faults.append(fault(first + at, reason, lines[at]))
        else:
            yield first + at, values
        at += taken


def _record(lines: list[str], at: int, form: Delimited) -> tuple[int, list[str], str]:
    """How many lines the record at `at` takes, its fields, and what is wrong with it; then it takes one line."""
    most = min(len(lines), at + _LONGEST_RECORD)
    for end in _ends(lines, at, most):
        try:
            [values] = csv.reader(
                io.StringIO("\n".join(lines[at:end]).replace("\0", " "), newline=""),
                delimiter=form.separator,
                strict=True,
            )
        except (csv.Error, ValueError):
            return 1, [], "a quote inside a field that is not written twice"
        return end - at, values, ""
    return 1, [], "a quote that is never closed"


def _ends(lines: list[str], at: int, most: int) -> Iterator[int]:
    """The first place behind `at` up to which quotes come in pairs, if there is one."""
    quotes = 0
    for end in range(at, most):
        quotes += lines[end].count('"')
        if quotes % 2 == 0:
            yield end + 1
            return
