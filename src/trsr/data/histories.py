"""`Histories`: the events of a dataset folder user by user, for more users than fit into memory.

The file is surveyed once, then read in parts of whole users whose ids lie between two bounds. Of a file sorted by user
each row group is read about once, because Parquet tells its range of ids. Of any other file the whole is passed over
to find some of the users, so what a pass brings is as large as memory allows, and is cleaned and ordered in smaller
parts, which need several times their size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

import polars as pl

from trsr.config import DataConfig
from trsr.data.columns import ITEM, TIME, USER
from trsr.data.events import MOMENT, CleanEvents, clean_events, event_columns, nothing_rated, survey_events
from trsr.data.ordering import order_events
from trsr.data.reading import ScannedTable, dataset_files, read_table
from trsr.data.report import CleaningReport
from trsr.data.validation import clean_items
from trsr.errors import DataError

SAMPLE = 100_000
"""At most as many user ids, taken at even distances from the file, say where one part ends and the next begins."""

PARTS_PER_PASS = 8
"""So many parts are read from the file at once."""


@dataclass(frozen=True, slots=True)
class History:
    """One user's events, oldest first; `times` in Unix seconds, None where an event has no time."""

    user: str
    items: tuple[str, ...]
    times: tuple[int | None, ...]


class Histories:
    """The histories of a dataset folder in the order of user ids, those that `Dataset.from_folder` would give.

    `items`, `attributes` and `name` are those of `Dataset`; time orders events if `timed`. `report` and `users` (how
    many there are) are None until one iteration reached its end: they need every event. Memory holds the items, the
    rows of eight parts and what the work on one part takes; a part has about `events_per_part` events, more where one
    user has more. Every iteration and `of` read the file as it was when it was opened here; once it is replaced they
    end with a `DataError`.
    """

    def __init__(self, folder: Path, config: DataConfig, seed: int, events_per_part: int = 500_000) -> None:
        """Survey the folder; raises `DataError` and `ConfigError` as `Dataset.from_folder` does."""
        items_file, events_file = dataset_files(folder)
        items, self._table = read_table(items_file), ScannedTable.open(events_file)
        self.items, self.attributes, report = clean_items(items, config.attributes, CleaningReport(), str(items_file))
        self.name = folder.resolve().name
        self.report: CleaningReport | None = None
        self.users: int | None = None
        self._seed = seed
        with self._table.reading():
            table = self._table.scan()
            self._survey = survey_events(table, self.items[ITEM], config.min_rating, report, str(events_file))
            self._user = _user(table)
            self._bounds = _bounds(table.select(self._user), self._survey.rows, events_per_part)
        # An event without a time may be a repeat or rated low, so what is left says which clock orders.
        self.timed = self._survey.timed or not any(part.frame[MOMENT].has_nulls() for part in self.cleaned_parts())
        if config.min_rating is not None and all(part.frame.is_empty() for part in self.cleaned_parts()):
            raise nothing_rated(self._survey)

    def __iter__(self) -> Iterator[History]:
        """Every user with an event, sorted by id as Python sorts text; sets `report` and `users` at the end."""
        report = self._survey.report
        for part in self.cleaned_parts():
            events, tied = order_events(part.frame, self._seed, timed=self.timed)
            report = report.with_part(
                events, exact_repeats=part.exact_repeats, low_ratings=part.low_ratings, tied_events=tied
            )
            yield from _by_user(events)
        self.report, self.users = report, report.users

    def of(self, user: str) -> History:
        """The history of one user, of whom alone events are kept; `DataError` if nobody has this id."""
        part = clean_events(self._read(self._user == user), self._survey)
        events, _ = order_events(part.frame, self._seed, timed=self.timed)
        for history in _by_user(events):
            return history
        raise DataError(f"{self.name}: user {user!r} has no events; check the id")

    @property
    def report_of_table(self) -> CleaningReport:
        """The clean-ups that only the whole table tells; `with_part` adds those of the parts."""
        return self._survey.report

    def cleaned_parts(self) -> Iterator[CleanEvents]:
        """The events of all users, not in order: parts of whole users, whose ids ascend from part to part."""
        edges = [None, *self._bounds, None]
        for first in range(0, len(edges) - 1, PARTS_PER_PASS):
            inner = edges[first : first + PARTS_PER_PASS + 1]
            rows = self._read(self._between(inner[0], inner[-1]))
            for low, high in pairwise(inner):
                yield clean_events(rows.filter(self._between(low, high)), self._survey)

    def _between(self, low: str | None, high: str | None) -> pl.Expr:
        above = pl.lit(value=True) if low is None else self._user > low
        return above if high is None else above & (self._user <= high)

    def _read(self, chosen: pl.Expr) -> pl.DataFrame:
        with self._table.reading():
            return event_columns(self._table.scan()).filter(chosen).collect(engine="streaming")


def _user(table: pl.LazyFrame) -> pl.Expr:
    """The user id as text; a plain column where it is text already, so that row groups are skipped by their range."""
    return pl.col(USER) if table.collect_schema()[USER] == pl.String else pl.col(USER).cast(pl.String)


def _bounds(users: pl.LazyFrame, rows: int, events_per_part: int) -> list[str]:
    """The last user id of every part but the last, ascending."""
    parts = ceil(rows / events_per_part)
    ids = users.gather_every(ceil(rows / SAMPLE)).collect(engine="streaming")[USER].sort()
    return ids.gather([len(ids) * part // parts for part in range(1, parts)]).unique().sort().to_list()


def _by_user(events: pl.DataFrame) -> Iterator[History]:
    items, times = events[ITEM].to_list(), events[TIME].to_list()
    runs = events[USER].rle()
    start = 0
    for user, length in zip(runs.struct["value"].to_list(), runs.struct["len"].to_list(), strict=True):
        end = start + length
        yield History(user, tuple(items[start:end]), tuple(times[start:end]))
        start = end
