"""Popularity: how many events an item has among those that a model may be fitted on, all of them or the latest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trsr.baselines.fitting import Family, FitData
from trsr.data.columns import ITEM, ORDER, TIME, USER
from trsr.data.scoring import RankingRequest, Scores


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of fitted events; an item never seen gets 0."""

    counts: Mapping[str, float]

    @classmethod
    def fit(cls, events: pl.DataFrame) -> "Popularity":
        """Count the events of `Examples.fit_events`."""
        return cls(dict(events.group_by(ITEM).len().iter_rows()))

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Event counts (n candidates,) for each request."""
        for request in requests:
            yield np.array([self.counts.get(item, 0) for item in request.candidates], dtype=np.float32)


@dataclass(frozen=True)
class PopularitySettings:
    """Nothing is to be set."""


@dataclass(frozen=True)
class RecentSettings:
    """`half_life`: an event counts half as much as one that this share of all fitted events follows less."""

    half_life: float


def recent_popularity(data: FitData, settings: RecentSettings, seed: int) -> Popularity:
    """Popularity whose events lose weight with age (the exponential window of Ji et al., SIGIR 2020, in spirit).

    An event of age a, the share of fitted events after it, counts 2^(-a / half_life). Where events have no time, a is
    the share of the user's own events after it.
    """
    weights = np.exp2(-_ages(data.events) / settings.half_life)
    weighed = data.events.select(ITEM, pl.Series("weight", weights)).group_by(ITEM).agg(pl.col("weight").sum())
    return Popularity(dict(weighed.iter_rows()))


def _ages(events: pl.DataFrame) -> NDArray[np.float64]:
    if events[TIME].null_count() == 0:
        times = events[TIME].to_numpy()
        later = len(times) - np.searchsorted(np.sort(times), times, side="right")
        return later / len(times)
    later_own = (pl.len().over(USER) - pl.col(ORDER).rank("ordinal").over(USER)) / pl.len().over(USER)
    return events.select(later_own.alias("age"))["age"].to_numpy()


POPULARITY = Family((PopularitySettings(),), lambda data, settings, seed: Popularity.fit(data.events))
RECENT_POPULARITY = Family(
    tuple(RecentSettings(share) for share in (1.0, 0.5, 0.25, 0.15, 0.1, 0.05, 0.02, 0.01)), recent_popularity
)
