"""Which events an import keeps; every filter tells how many it took out."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.config import FilterConfig
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER
from trsr.errors import ConfigError

UNKNOWN = "of unknown items"
"""What the step is called that takes out events of items that the source does not describe."""

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint32]


def filter_events(events: pl.LazyFrame, known: pl.Series, config: FilterConfig) -> tuple[pl.LazyFrame, dict[str, int]]:
    """The events that are kept, and how many events each step took out, in order.

    Events of items that are not among `known` go first. `events` is read once a step, in batches; the core, the
    shortest history and repeats need users and items of all events in memory, as whole numbers. Raises `ConfigError`
    for a filter by what the events do not have.
    """
    names = events.collect_schema().names()
    kept, removed = _by_row(events, known, config, names)
    if config.repeats != "keep":
        kept = _without_repeats(kept, config.repeats, names, removed)
    if config.core is not None or config.min_history is not None:
        kept = _with_enough(kept, config, removed)
    return kept, removed


def _by_row(
    events: pl.LazyFrame, known: pl.Series, config: FilterConfig, names: list[str]
) -> tuple[pl.LazyFrame, dict[str, int]]:
    conditions = {UNKNOWN: pl.col(ITEM).is_in(known.implode())}
    for setting, column in (("min_rating", RATING), ("since", TIME), ("until", TIME)):
        if getattr(config, setting) is not None and column not in names:
            raise ConfigError(f"{setting}: the source has no {column}; leave the filter out")
    if config.min_rating is not None:
        conditions[f"rated below {config.min_rating:g} or not rated"] = (
            pl.col(RATING).fill_nan(None) >= config.min_rating
        )
    if config.since is not None:
        conditions[f"before {config.since} or without a time"] = pl.col(TIME) >= config.since.timestamp()
    if config.until is not None:
        conditions[f"at or after {config.until} or without a time"] = pl.col(TIME) < config.until.timestamp()
    kept, counts = pl.lit(value=True), [pl.len().alias("all")]
    for name, condition in conditions.items():
        kept = kept & condition.fill_null(value=False)
        counts.append(kept.sum().alias(name))
    left = events.select(counts).collect(engine="streaming").row(0)
    removed = {name: before - after for name, before, after in zip(conditions, left, left[1:], strict=False)}
    return (events.filter(kept) if any(removed.values()) else events), removed


def _without_repeats(events: pl.LazyFrame, which: str, names: list[str], removed: dict[str, int]) -> pl.LazyFrame:
    frame = events.collect(engine="streaming")
    order = frame.with_row_index("row")
    order = order.sort(*_clock(frame, names), "row", descending=which == "last", nulls_last=which == "last")
    rows = order.unique([USER, ITEM], keep="first", maintain_order=True)["row"].sort()
    removed["repeats of a user's item"] = frame.height - len(rows)
    return frame[rows].lazy()


def _clock(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """What orders events, as in a dataset folder: time where every event has one, else the position."""
    clock = [name for name in names if name == TIME] + [name for name in names if name == POSITION]
    if len(clock) == 2 and frame[TIME].has_nulls() and not frame[POSITION].has_nulls():
        return [POSITION]
    return clock


def _with_enough(events: pl.LazyFrame, config: FilterConfig, removed: dict[str, int]) -> pl.LazyFrame:
    frame = events.collect(engine="streaming")
    codes = frame.select(pl.col(USER, ITEM).cast(pl.Categorical).to_physical())
    users, items = codes[USER].to_numpy(), codes[ITEM].to_numpy()
    kept = np.ones(len(users), dtype=np.bool_)
    if config.core is not None:
        kept = _core(users, items, config.core)
        removed[f"outside the {config.core}-core"] = int((~kept).sum())
    if config.min_history is not None:
        enough = kept & _frequent(users, kept, config.min_history)
        removed[f"of users with fewer than {config.min_history} events"] = int(kept.sum() - enough.sum())
        kept = enough
    return frame.filter(pl.Series("kept", kept)).lazy()


def _core(users: Codes, items: Codes, least: int) -> Mask:
    kept = np.ones(len(users), dtype=np.bool_)
    for after in _shrinking(users, items, kept, least):
        kept = after
    return kept


def _shrinking(users: Codes, items: Codes, kept: Mask, least: int) -> Iterator[Mask]:
    while True:
        after = kept & _frequent(users, kept, least)
        after &= _frequent(items, after, least)
        yield after
        if after.sum() == kept.sum():
            return
        kept = after


def _frequent(codes: Codes, kept: Mask, least: int) -> Mask:
    """Which events are of a code that is among the kept ones often enough."""
    enough: Mask = np.bincount(codes[kept], minlength=int(codes.max(initial=0)) + 1) >= least
    return enough[codes]
