"""All events of a dataset folder as integers: a user, an item and a moment take 16 bytes an event."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import ITEM, ORDER, POSITION, USER
from trsr.data.events import MOMENT, CleanEvents
from trsr.data.histories import Histories
from trsr.data.report import CleaningReport

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class CodedEvents:
    """Events sorted by user and by what orders them; events of one moment are in no order that means anything.

    `user` and `item` are places in `users` and `items` (ids, ascending). `moment` is in microseconds, None where time
    does not order the events. `report` is the one that `Dataset` gives.
    """

    users: pl.Series
    items: pl.Series
    user: Codes
    item: Codes
    moment: Ints | None
    report: CleaningReport

    @cached_property
    def history_lengths(self) -> Ints:
        """Events of every user."""
        return np.bincount(self.user, minlength=len(self.users)).astype(np.int64)

    @cached_property
    def item_counts(self) -> Ints:
        """Events of every item of the catalogue."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.int64)

    @cached_property
    def starts(self) -> Ints:
        """The place of every user's first event."""
        return np.concatenate([[0], np.cumsum(self.history_lengths)[:-1]]).astype(np.int64)

    @cached_property
    def orders(self) -> Codes:
        """The number of every event within its history, from 0."""
        return np.arange(self.user.size, dtype=np.uint32) - self.starts.astype(np.uint32)[self.user]


def code_events(histories: Histories) -> CodedEvents:
    """Read every event of the folder once, in the parts that `histories` cuts it into."""
    items = histories.items[ITEM]
    report, users = histories.report_of_table, list[pl.Series]()
    frames = list[pl.DataFrame]()
    known = 0
    for part in histories.cleaned_parts():
        clock = _clock(part, histories.timed)
        some = part.frame[USER].unique().sort()
        coded = _with_codes(_with_codes(part.frame, USER, some, known), ITEM, items, 0)
        ordered = coded.sort(f"{USER} code", *clock, f"{ITEM} code")
        lengths = ordered.group_by(f"{USER} code", maintain_order=True).len()["len"].to_numpy()
        order = np.arange(ordered.height) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        report = report.with_part(
            ordered.with_columns(pl.Series(ORDER, order)),
            exact_repeats=part.exact_repeats,
            low_ratings=part.low_ratings,
            tied_events=_tied(ordered, [f"{USER} code", *clock]),
        )
        frames.append(ordered.select(pl.col(f"{USER} code").alias(USER), pl.col(f"{ITEM} code").alias(ITEM), MOMENT))
        users.append(some)
        known += len(some)
    moment = np.concatenate(list(_moments(frames))) if histories.timed else None
    codes = [np.concatenate([frame[name].to_numpy() for frame in frames]) for name in (USER, ITEM)]
    return CodedEvents(pl.concat(users), items, codes[0], codes[1], moment, report)


def _with_codes(frame: pl.DataFrame, column: str, ids: pl.Series, first: int) -> pl.DataFrame:
    """The frame with the places of its ids, counted from `first`, in the column `COLUMN code`."""
    codes = np.arange(first, first + len(ids), dtype=np.uint32)
    return frame.join(pl.DataFrame({column: ids, f"{column} code": codes}), on=column, how="left")


def _moments(frames: list[pl.DataFrame]) -> Iterator[Ints]:
    for frame in frames:
        yield frame[MOMENT].to_numpy()


def _clock(part: CleanEvents, timed: bool) -> list[str]:
    """The columns that order a user's events."""
    return [*([MOMENT] if timed else []), *([POSITION] if POSITION in part.frame.columns else [])]


def _tied(ordered: pl.DataFrame, columns: list[str]) -> int:
    """Events that share their user and what orders them with a neighbour."""
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in columns).fill_null(value=False)
    return int(ordered.select((same | same.shift(-1, fill_value=False)).sum()).item())
