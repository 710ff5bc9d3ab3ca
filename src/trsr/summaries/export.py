"""The table of a run's profiles, `summaries.parquet` in a run folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from trsr.summaries.runner import Profile

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "example_id": pl.String,
    "user_id": pl.String,
    "method": pl.String,
    "summary": pl.String,
    "blocks": pl.List(pl.List(pl.String)),
    "steps": pl.List(pl.String),
    "calls": pl.Int64,
}


@dataclass(frozen=True)
class SummaryRow:
    """A user's profile as of one example, with the blocks of item ids that it was made from."""

    example_id: str
    user_id: str
    method: str
    blocks: Sequence[Sequence[str]]
    profile: Profile


def summaries_frame(rows: Iterable[SummaryRow]) -> pl.DataFrame:
    """One line per row, with `SCHEMA` even where there is none."""
    lines = [
        {
            "example_id": row.example_id,
            "user_id": row.user_id,
            "method": row.method,
            "summary": row.profile.summary,
            "blocks": [list(block) for block in row.blocks],
            "steps": list(row.profile.steps),
            "calls": row.profile.calls,
        }
        for row in rows
    ]
    return pl.DataFrame(lines, schema=SCHEMA)
