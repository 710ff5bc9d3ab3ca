"""Item-based nearest neighbours: how often the people of the candidate are those of the history items.

Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, TOIS 2004; shrinkage as in Ferrari Dacrema et al.,
RecSys 2019.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from trsr.baselines.fitting import Family, FitData, Vocabulary, mark_unknown
from trsr.data.scoring import RankingRequest, Scores

_ROWS = 512


@dataclass(frozen=True)
class KnnSettings:
    """`neighbours` kept of each item; `shrink` is added to the norms; `decay` is the weight lost with every event."""

    neighbours: int
    shrink: float
    decay: float


@dataclass(frozen=True, eq=False)
class ItemKnn:
    """Scores a candidate by its decayed similarity to the history; `similar` is (items, items), sparse."""

    items: Vocabulary
    similar: Any
    decay: float

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Sum over the history of decay^age times cosine (n candidates,), for each request."""
        for request in requests:
            history = self.items.codes(request.history)
            weights = np.power(self.decay, np.arange(len(history))[::-1])
            taste = np.bincount(history[history >= 0], weights[history >= 0], len(self.items.items))
            codes = self.items.codes(request.candidates)
            yield mark_unknown(codes, self.similar[codes] @ taste)


def fit_item_knn(data: FitData, settings: KnnSettings, seed: int) -> ItemKnn:
    """Cosine over users x items of the fitted events, the nearest neighbours of every item only."""
    name = f"item_knn {settings.neighbours} {settings.shrink}"
    return ItemKnn(data.fitted, data.once(name, lambda: _similarities(data.matrix, settings)), settings.decay)


def _similarities(matrix: Any, settings: KnnSettings) -> Any:
    from scipy.sparse import vstack

    by_item = matrix.T.tocsr()
    norms = np.sqrt(np.asarray(by_item.sum(axis=1)).ravel())
    blocks = []
    for start in range(0, by_item.shape[0], _ROWS):
        block = (by_item[start : start + _ROWS] @ matrix).tocoo()
        keep = block.row + start != block.col  # an item is no neighbour of itself
        row, column, together = block.row[keep], block.col[keep], block.data[keep]
        cosine = together / (norms[row + start] * norms[column] + settings.shrink)
        blocks.append(_nearest(row, column, cosine, block.shape, settings.neighbours))
    return vstack(blocks, format="csr")


def _nearest(row: Any, column: Any, cosine: Any, shape: tuple[int, int], neighbours: int) -> Any:
    from scipy.sparse import csr_matrix

    order = np.lexsort((column, -cosine, row))  # equal cosines in the order of ids, whatever the order of events
    row, column, cosine = row[order], column[order], cosine[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    near = place < neighbours
    return csr_matrix((cosine[near], (row[near], column[near])), shape=shape)


ITEM_KNN = Family(
    tuple(KnnSettings(*chosen) for chosen in product((100, 500, 2500), (0.0, 30.0), (1.0, 0.95))),
    fit_item_knn,
    needs=("scipy",),
)
