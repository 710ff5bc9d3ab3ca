"""Source files that are bytes in memory, and rows read from them in small blocks."""

import io
from collections.abc import Sequence

import polars as pl

from trsr.data.importing import delimited, jsonlines
from trsr.data.importing.blocks import blocks
from trsr.data.importing.rows import LINE, RowFormat
from trsr.data.importing.source import SourceFile


def memory_file(data: bytes, name: str = "table.csv") -> SourceFile:
    return SourceFile(name, name, len(data), lambda: io.BytesIO(data))


def small_blocks(size: int):
    """`blocks` with another size."""
    return lambda stream, quote=b"", size=size: blocks(stream, quote, size)


def read(form: RowFormat, data: bytes, name: str = "table.csv") -> tuple[list[tuple], list[tuple[int, str]]]:
    """Rows with their line first, and lines with reasons of faults."""
    rows, faults = [], []
    for batch in form.read(memory_file(data, name)):
        assert batch.frame.columns[0] == LINE
        assert batch.frame.schema[LINE] == pl.Int64
        rows += batch.frame.rows()
        faults += batch.faults.select(LINE, "reason").rows()
    return rows, faults


def shrink_blocks(patch, size: int) -> None:
    for module in (delimited, jsonlines):
        patch.setattr(module, "blocks", lambda stream, quote=b"", size=size, small=size: blocks(stream, quote, small))


def lines_of(faults: Sequence[tuple[int, str]]) -> list[int]:
    return [line for line, _ in faults]
