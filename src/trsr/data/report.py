"""What cleaning did to a dataset, in counts that a person and a program can read."""

from dataclasses import asdict, dataclass, replace

import polars as pl

from trsr.data.columns import ITEM, USER


@dataclass(frozen=True)
class CleaningReport:
    """Sizes of the cleaned data, how its events were ordered, and how many rows each clean-up touched."""

    items: int = 0
    users: int = 0
    events: int = 0
    ordered_by: str = ""
    integer_ids: int = 0
    identical_items: int = 0
    empty_items: int = 0
    unknown_items: int = 0
    unknown_example: str | None = None
    exact_repeats: int = 0
    low_ratings: int = 0
    kept_repeats: int = 0
    missing_times: int = 0
    missing_positions: int = 0
    tied_events: int = 0
    single_event_users: int = 0

    def with_part(
        self, events: pl.DataFrame, *, exact_repeats: int, low_ratings: int, tied_events: int
    ) -> "CleaningReport":
        """The report with the clean `events` of further users, and what cleaning did to these, added."""
        lengths = _lengths(events[USER])
        return replace(
            self,
            users=self.users + lengths.len(),
            events=self.events + events.height,
            exact_repeats=self.exact_repeats + exact_repeats,
            low_ratings=self.low_ratings + low_ratings,
            kept_repeats=self.kept_repeats + _repeats(events),
            tied_events=self.tied_events + tied_events,
            single_event_users=self.single_event_users + int((lengths == 1).sum()),
        )

    def as_dict(self) -> dict[str, int | str | None]:
        """Every count by its name, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """One line on the size, then one for every clean-up that touched something."""
        notes = [
            (self.integer_ids, "ids were whole numbers: read as text"),
            (self.identical_items, "identical copies of item rows: dropped"),
            (self.empty_items, "items have no text in any attribute: kept"),
            (self.unknown_items, f"events name an unknown item (such as {self.unknown_example!r}): dropped"),
            (self.exact_repeats, "exact repeats of an event (same user, item and moment): dropped"),
            (self.low_ratings, "events rated below min_rating or not rated: dropped"),
            (self.kept_repeats, "events repeat an earlier item of the same user: kept"),
            (self.missing_times, "events have no timestamp: position orders all events"),
            (self.missing_positions, "events have no position: position is not used"),
            (self.tied_events, "events share their moment with another of the same user: ordered by the seed"),
            (self.single_event_users, "users have a single event"),
        ]
        size = f"{self.users:,} users, {self.events:,} events, {self.items:,} items; ordered by {self.ordered_by}"
        return [size, *(f"{count:,} {what}" for count, what in notes if count)]


def _lengths(users: pl.Series) -> pl.Series:
    """How often each user occurs; quick where the events of each are together."""
    runs = users.rle().struct.unnest()
    if runs["value"].n_unique() == runs.height:
        return runs["len"]
    return runs.group_by("value").agg(pl.col("len").sum())["len"]


def _repeats(events: pl.DataFrame) -> int:
    """Events whose user has another with the same item before; only those whose hash occurs twice are looked at."""
    hashes = events.select(pl.col(USER).hash(1) ^ pl.col(ITEM).hash(2)).to_series()
    ordered = hashes.sort()
    twice = ordered.filter(ordered == ordered.shift()).unique()
    some = events.filter(hashes.is_in(twice.implode()))
    return some.height - some.select(USER, ITEM).n_unique()
