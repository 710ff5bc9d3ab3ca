"""Popularity: how many events an item has among those that a model may be fitted on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trsr.data.columns import ITEM
from trsr.data.scoring import RankingRequest, Scores


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of fitted events; an item never seen gets 0."""

    counts: Mapping[str, int]

    @classmethod
    def fit(cls, events: pl.DataFrame) -> "Popularity":
        """Count the events of `Examples.fit_events`."""
        return cls(dict(events.group_by(ITEM).len().iter_rows()))

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Event counts (n candidates,) for each request."""
        for request in requests:
            yield np.array([self.counts.get(item, 0) for item in request.candidates], dtype=np.float32)
