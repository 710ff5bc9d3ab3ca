"""Tables of summaries: `summaries.parquet` of a run folder, one line an example, and of a store, one line a user."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from trsr.summaries.runner import Profile
from trsr.summaries.store import ProfileVersion

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "example_id": pl.String,
    "user_id": pl.String,
    "method": pl.String,
    "summary": pl.String,
    "blocks": pl.List(pl.List(pl.String)),
    "steps": pl.List(pl.String),
    "calls": pl.Int64,
}
PROFILE_SCHEMA = SCHEMA | {
    "events": pl.Int64,
    "last_item": pl.String,
    "last_time": pl.Int64,
    "model": pl.String,
    "created": pl.Int64,
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
        (
            *(row.example_id, row.user_id, row.method, row.profile.summary),
            *(list(map(list, row.blocks)), list(row.profile.steps), row.profile.calls),
        )
        for row in rows
    ]
    return pl.DataFrame(lines, schema=SCHEMA, orient="row")


def profiles_frame(profiles: Iterable[ProfileVersion]) -> pl.DataFrame:
    """One line per profile, with `PROFILE_SCHEMA`; the example is the user as of now, so its id is theirs."""
    lines = [
        (
            *(
                one.user,
                one.user,
                one.method,
                one.summary,
                list(map(list, one.blocks)),
                list(one.steps),
                len(one.calls),
            ),
            *(one.events, one.last_item, one.last_time, one.model, one.created),
        )
        for one in profiles
    ]
    return pl.DataFrame(lines, schema=PROFILE_SCHEMA, orient="row")
