"""Parquet files some rows at a time, as text or as they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from trsr.data.importing.rows import LINE, RowBatch, faults_frame
from trsr.data.importing.source import SourceFile
from trsr.data.reading import ScannedTable
from trsr.errors import DataError

_ROWS = 200_000


@dataclass(frozen=True)
class ParquetRows:
    """The columns `wanted`, those of them that are `optional` null where there are none; `line` is the row's number.

    Plain values become text, as in a file of text; lists and times stay what they are, and with `typed` all do.
    """

    wanted: tuple[str, ...]
    optional: tuple[str, ...] = ()
    typed: bool = False

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows; `DataError` for a file that is damaged, in an archive, or lacks a column."""
        table = _open(file)
        kinds = table.scan().collect_schema()
        for name in self.wanted:
            if name not in kinds and name not in self.optional:
                raise DataError(
                    f"{file.place}: column {name} is missing (columns: {', '.join(kinds)}); add or rename it"
                )
        columns = [self._column(name, kinds.get(name)) for name in self.wanted]
        row = 0
        while True:
            with table.reading():
                frame = table.scan().slice(row, _ROWS).select(columns).collect(engine="streaming")
            if frame.is_empty():
                return
            number = pl.int_range(row + 1, row + 1 + frame.height, eager=True, dtype=pl.Int64).alias(LINE)
            yield RowBatch(frame.select(number, *self.wanted), faults_frame())
            row += frame.height

    def _column(self, name: str, kind: pl.DataType | None) -> pl.Expr:
        if kind is None:
            return pl.lit(None, pl.String).alias(name)
        if self.typed or kind.is_temporal():
            return pl.col(name)
        if kind.is_nested():
            return pl.col(name).cast(pl.List(pl.String)) if kind in (pl.List, pl.Array) else pl.col(name)
        return pl.col(name).cast(pl.String)


def parquet_kinds(file: SourceFile) -> pl.Schema:
    """The columns of a Parquet file; `DataError` as from reading it."""
    return _open(file).scan().collect_schema()


def _open(file: SourceFile) -> ScannedTable:
    if file.path is None or file.path.suffix.lower() != ".parquet":
        raise DataError(f"{file.place}: a Parquet file is read from a folder; unpack it first")
    return ScannedTable.open(file.path)
