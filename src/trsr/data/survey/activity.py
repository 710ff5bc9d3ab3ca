"""How many events users and items have, which of them are alone, and how popularity is spread."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trsr.data.survey.coded import CodedEvents
from trsr.data.survey.spread import Spread, spread_of

Ints = npt.NDArray[np.int64]

FEW = 5
POINTS = 60


@dataclass(frozen=True)
class ActivitySurvey:
    """Events by user and by item; items without an event count with 0."""

    per_user: Spread
    per_item: Spread
    longest_user: str
    items_without_events: int
    repeated_pairs: int


@dataclass(frozen=True)
class PopularitySurvey:
    """How unequal items are.

    `gini` over all items (0 where all have as many events, near 1 where one has them all); `top_1_percent` and
    `top_10_percent` the share of events that the most popular items have, rounded up to whole items;
    `items_with_few_events` those with less than `FEW`. `cold_share` is the share of the latest tenth of all events
    whose item had no event before, None without time. `curve`: (share of items, most popular first; of events).
    """

    gini: float
    top_1_percent: float
    top_10_percent: float
    items_with_few_events: int
    cold_share: float | None
    curve: list[tuple[float, float]]


def survey_activity(events: CodedEvents) -> ActivitySurvey:
    """Sizes of histories and of the audiences of items."""
    lengths, counts = events.history_lengths, events.item_counts
    return ActivitySurvey(
        per_user=spread_of(lengths),
        per_item=spread_of(counts),
        longest_user=str(events.users[int(lengths.argmax())]),
        items_without_events=int((counts == 0).sum()),
        repeated_pairs=events.report.kept_repeats,
    )


def survey_popularity(events: CodedEvents) -> PopularitySurvey:
    """How much of all events the popular items have."""
    counts = np.sort(events.item_counts)[::-1]
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    size = len(counts)
    places = np.unique(np.round(np.linspace(0, 1, POINTS) ** 2 * size).astype(np.int64))
    return PopularitySurvey(
        gini=gini(counts),
        top_1_percent=float(shares[-(-size // 100)]),
        top_10_percent=float(shares[-(-size // 10)]),
        items_with_few_events=int((counts < FEW).sum()),
        cold_share=cold_share(events),
        curve=[(float(place / size), float(shares[place])) for place in places],
    )


def gini(counts: Ints) -> float:
    """Half the mean absolute difference between two of the counts, over their mean."""
    ascending = np.sort(counts)
    ranks = np.arange(1, len(ascending) + 1)
    size, total = len(ascending), ascending.sum(dtype=np.float64)
    return float(2 * (ranks * ascending.astype(np.float64)).sum() / (size * total) - (size + 1) / size)


def cold_share(events: CodedEvents, latest: float = 0.1) -> float | None:
    """The share of the latest events, from the moment on at which they begin, whose item has none before it."""
    if events.moment is None:
        return None
    size = events.moment.size
    place = size - max(1, round(latest * size))
    begins = np.partition(events.moment, place)[place]
    is_late = events.moment >= begins
    seen = np.zeros(len(events.items), np.bool_)
    seen[events.item[~is_late]] = True
    return float((~seen[events.item[is_late]]).mean())
