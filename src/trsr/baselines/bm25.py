"""BM25: the texts of the latest history items are the query, the text of the candidate is the document.

Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; library bm25s (Lù, 2024).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np

from trsr.baselines.fitting import Codes, Family, FitData, Vocabulary, mark_unknown
from trsr.data.scoring import RankingRequest, Scores


@dataclass(frozen=True)
class Bm25Settings:
    """`latest` history items make the query; `k1` and `b` are saturation and length normalisation of BM25."""

    latest: int
    k1: float
    b: float


@dataclass(frozen=True, eq=False)
class Bm25:
    """Scores every item by its text alone, so none is cold; without a history all tie."""

    catalogue: Vocabulary
    tokens: Sequence[Sequence[int]]
    index: Any
    latest: int

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """BM25 (n candidates,) for each request."""
        for request in requests:
            matches = self._matches(self.catalogue.known(request.history)[-self.latest :])
            codes = self.catalogue.codes(request.candidates)
            yield mark_unknown(codes, matches[codes])

    def _matches(self, items: Codes) -> Any:
        query = list(chain.from_iterable(self.tokens[item] for item in items))
        return self.index.get_scores(query) if query else np.zeros(len(self.tokens), np.float32)


def fit_bm25(data: FitData, settings: Bm25Settings, seed: int) -> Bm25:
    """Index the texts of the catalogue, English stop words left out."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
    tokenized = data.once("bm25 tokens", lambda: bm25s.tokenize(data.texts, stopwords="en", show_progress=False))
    index = bm25s.BM25(k1=settings.k1, b=settings.b)
    index.index(tokenized, show_progress=False)
    return Bm25(data.catalogue, tokenized.ids, index, settings.latest)


BM25 = Family(
    tuple(
        Bm25Settings(latest, k1, b)
        for latest, (k1, b) in product((1, 3, 10, 30), ((1.2, 0.75), (0.9, 0.4), (2.0, 0.9)))
    ),
    fit_bm25,
    needs=("bm25s",),
)
