"""What every way to tell the rows of a file apart gives: frames of what is a row, and faults of what is none."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from trsr.data.importing.source import SourceFile

LINE = "line"
REASON = "reason"
_SHOWN = 200

FAULTS = pl.Schema({LINE: pl.Int64, REASON: pl.String, "content": pl.String})
"""Rows that are none: the line or row (from 1) at which one begins, what is wrong, and what it holds (see `fault` and
`with_content`)."""


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Some rows of a file: `frame` has the columns and `line`; `faults` as in `FAULTS`. Blank lines are no rows."""

    frame: pl.DataFrame
    faults: pl.DataFrame


class RowFormat(Protocol):
    """How the rows of a file are told apart."""

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows in order, in batches of bounded size; `DataError` where the file as a whole cannot be read."""
        ...


def fault(line: int, reason: str, content: str = "") -> tuple[int, str, str]:
    """One row of `FAULTS`, with the first characters of `content`."""
    return line, reason, content[:_SHOWN].encode(errors="replace").decode()


def faults_frame(rows: Sequence[tuple[int, str, str]] = ()) -> pl.DataFrame:
    """Faults as a frame."""
    return pl.DataFrame(rows, schema=FAULTS, orient="row")


def sift(frame: pl.DataFrame, reasons: Mapping[str, pl.Expr]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `frame` for which none of `reasons` holds, and the faults of the others, each by its first reason."""
    choice = pl.coalesce(pl.when(condition).then(pl.lit(reason)) for reason, condition in reasons.items())
    found = frame.select(choice.alias(REASON)).to_series()
    if found.null_count() == len(found):
        return frame, faults_frame()
    bad = frame.select(LINE).with_columns(found, pl.lit("").alias("content")).filter(pl.col(REASON).is_not_null())
    return frame.filter(found.is_null()), bad.cast(FAULTS)


def with_content(faults: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The faults, those without content with the values of their row among `rows`, as the start of a JSON object."""
    bare = faults.filter(pl.col("content") == "")
    if bare.is_empty():
        return faults
    of_line = rows.filter(pl.col(LINE).is_in(bare[LINE].implode())).iter_rows(named=True)
    said = {row.pop(LINE): json.dumps(row, ensure_ascii=False, default=str) for row in of_line}
    return faults_frame(
        [fault(line, reason, content or said.get(line, "")) for line, reason, content in faults.iter_rows()]
    )
