"""How popular items are, in levels that each hold about the same share of all events."""

import polars as pl

from trsr.data.columns import ITEM


def popularity_levels(events: pl.DataFrame, levels: int) -> dict[str, int]:
    """The level, 1 to `levels`, of every item that occurs in `events` (`item_id`); `levels` is the most popular.

    Items are taken from the most to the least frequent, and a level ends where it holds its share of all events, so
    the target of an event is of any level with about the same chance, while most of a catalogue is of the lowest. Items
    of one frequency have one level. An item that is not in `events` belongs to level 1.
    """
    counts = events.group_by(ITEM).len("events")
    by_count = counts.group_by("events").agg(pl.len().alias("items")).sort("events", descending=True)
    above = (pl.col("events") * pl.col("items")).cum_sum().shift(1, fill_value=0)
    level = levels - (above * levels // events.height)
    leveled = counts.join(by_count.select("events", level.cast(pl.Int64).alias("level")), "events")
    return dict(leveled.select(ITEM, "level").iter_rows())
