"""How popular items are, in levels that each hold about the same share of all events."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from trsr.data.columns import ITEM
from trsr.data.reading import read_table
from trsr.errors import DataError

POPULARITY = "popularity.parquet"
"""The name of the file with the levels of items in a ranker's folder."""

_LEVEL = "level"


def popularity_levels(events: pl.DataFrame, levels: int) -> dict[str, int]:
    """The level, 1 to `levels`, of every item that occurs in `events` (`item_id`); `levels` is the most popular.

    Items are taken from the most to the least frequent, and each has the level that its place among all events falls
    into, so that levels hold about the same share of the events, while most of a catalogue is of the lowest. Items of
    one frequency have one level, that of the middle of their events. An item that is not in `events` is of level 1.
    """
    counts = events.group_by(ITEM).len("events")
    by_count = counts.group_by("events").agg(pl.len().alias("items")).sort("events", descending=True)
    held = pl.col("events") * pl.col("items")
    twice_middle = 2 * held.cum_sum() - held
    level = levels - (twice_middle * levels // (2 * events.height))
    leveled = counts.join(by_count.select("events", level.cast(pl.Int64).alias(_LEVEL)), "events")
    return dict(leveled.select(ITEM, _LEVEL).iter_rows())


def write_levels(path: Path, levels: Mapping[str, int]) -> None:
    """Write levels as a table of `item_id` and `level`."""
    columns = {ITEM: list(levels), _LEVEL: list(levels.values())}
    pl.DataFrame(columns, schema={ITEM: pl.String, _LEVEL: pl.Int64}).sort(ITEM).write_parquet(path)


def read_levels(path: Path) -> dict[str, int]:
    """What `write_levels` wrote. Raises `DataError` for a file that is missing or another one."""
    table = read_table(path)
    if table.schema != {ITEM: pl.String, _LEVEL: pl.Int64}:
        raise DataError(f"{path}: not a table of {ITEM} and {_LEVEL}; save the ranker again")
    return dict(table.iter_rows())
