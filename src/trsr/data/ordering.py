"""The order of a user's events: time, then position, then a hash of the seed.

Many logs hold events that share a moment (a visitor rates a whole page at once), so something must decide
which comes first. Item ids must not: low ids are often old or popular items, and a target that is the highest
id of its group can be guessed. The order of rows in a file must not either: exports are sorted by id, by
rating or by a label, and a shuffled copy of a file would be another dataset. A keyed hash of the event itself
depends on neither, differs from seed to seed, and is the same on every machine.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import ITEM, ORDER, POSITION, TIME, USER
from trsr.data.events import MOMENT, tied_rows
from trsr.data.seeds import seed_key


def order_events(events: pl.DataFrame, seed: int, *, timed: bool) -> tuple[pl.DataFrame, int]:
    """Events sorted by user and order, with the column `order` (0..n-1 within a user), and the number of ties.

    `events` comes from `clean_events`: `moment` orders if `timed` (no event that is left in the whole table lacks it),
    `position` (whole if it is there) comes next. An event is tied if another event of its user has the same values
    of both.
    """
    clock = [MOMENT] if timed else []
    clock += [POSITION] if POSITION in events.columns else []
    is_tied = tied_rows(events, [USER, *clock])
    if is_tied is None:
        events = events.sort(USER, *clock)
        is_tied = tied_rows(events, [USER, *clock])
        assert is_tied is not None
    if is_tied.any():
        events = events[_broken(events.filter(is_tied), is_tied, clock, seed)]
    return events.with_columns(_places(events)), int(is_tied.sum())


def _broken(tied: pl.DataFrame, is_tied: pl.Series, clock: list[str], seed: int) -> npt.NDArray[np.int64]:
    """The order of the rows of a sorted table in which the `tied` among them follow their hashes."""
    group = tied.select(pl.struct(USER, *clock).rle_id()).to_series().to_numpy()
    by_hash = np.lexsort((np.array(_hashes(tied, seed), dtype=np.uint64), group))
    order = np.arange(is_tied.len())
    rows = np.flatnonzero(is_tied.to_numpy())
    order[rows] = rows[by_hash]
    return order


def _places(ordered: pl.DataFrame) -> pl.Series:
    """0..n-1 within each user."""
    rows = np.arange(ordered.height)
    starts = np.flatnonzero((ordered[USER] != ordered[USER].shift()).fill_null(value=True).to_numpy())
    return pl.Series(ORDER, rows - np.repeat(starts, np.diff(starts, append=ordered.height)))


def _hashes(tied: pl.DataFrame, seed: int) -> list[int]:
    key = seed_key(seed, "tie order")
    return [
        int.from_bytes(blake2b(f"{user}\0{item}\0{time}".encode(), key=key, digest_size=8).digest(), "big")
        for user, item, time in tied.select(USER, ITEM, TIME).iter_rows()
    ]
