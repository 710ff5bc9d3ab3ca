"""The oracle of the synthetic bookshop: the true utility of each candidate, the best that any scorer could know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trsr.data.bookshop.oracle import Truth, oracle_scores
from trsr.data.columns import EXAMPLE, ITEM, USER
from trsr.data.scoring import RankingRequest, Scores


@dataclass(frozen=True)
class Oracle:
    """Scores by the hidden taste of the reader at the moment of the target; `cuts` maps examples to that moment."""

    truth: Truth
    cuts: Mapping[str, int]

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """True utilities (n candidates,) for each request."""
        for request in requests:
            rows = {EXAMPLE: request.example_id, USER: request.user_id, ITEM: list(request.candidates)}
            frame = pl.DataFrame(rows).select(EXAMPLE, USER, ITEM)
            yield oracle_scores(self.truth, frame, self.cuts).astype(np.float32)
