"""How popular items are, in levels that each hold about the same share of all events."""

import polars as pl

from trsr.data.columns import ITEM


def popularity_levels(events: pl.DataFrame, levels: int) -> dict[str, int]:
    """The level, 1 to `levels`, of every item that occurs in `events` (`item_id`); `levels` is the most popular.

    Items are taken from the most to the least frequent, and each has the level that its place among all events falls
    into, so that levels hold about the same share of the events, while most of a catalogue is of the lowest. Items of
    one frequency have one level, that of the middle of their events. An item that is not in `events` belongs to level 1.
    """
    counts = events.group_by(ITEM).len("events")
    by_count = counts.group_by("events").agg(pl.len().alias("items")).sort("events", descending=True)
    held = pl.col("events") * pl.col("items")
    twice_middle = 2 * held.cum_sum() - held
    level = levels - (twice_middle * levels // (2 * events.height))
    leveled = counts.join(by_count.select("events", level.cast(pl.Int64).alias("level")), "events")
    return dict(leveled.select(ITEM, "level").iter_rows())
