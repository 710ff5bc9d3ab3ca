"""Ranking metrics that no order of tied candidates can bend: each is its expected value over random tie orders.

Sort the candidates of an example by score. Equal scores form a *run* of n candidates, p of them positive, with
a candidates above it; in the example there are N candidates, P of them positive. All n! orders of a run are
equally likely, so a place in the run holds a positive with probability p / n, and the place of its first
positive follows the negative hypergeometric distribution. The formulas below use nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 1_000_000
"""About so many candidates are sorted at once."""


@dataclass(frozen=True)
class TieRuns:
    """Runs of equal scores, best first within each example.

    `example`, `above` (a), `size` (n) and `positives` (p) have one entry per run; `candidates` (N) and
    `targets` (P) one per example.
    """

    example: Ints
    above: Ints
    size: Ints
    positives: Ints
    candidates: Ints
    targets: Ints

    def total(self, values: Floats) -> Floats:
        """Sum of one value per run over the runs of each example."""
        return np.bincount(self.example, values, len(self.candidates)).astype(np.float64)


def tie_runs(scores: ArrayLike, labels: ArrayLike, examples: ArrayLike) -> TieRuns:
    """Group the candidates of every example by equal score.

    `scores`, `labels` (0 or 1) and `examples` (0 .. number of examples - 1, in any order) have one entry per
    candidate; scores must not be NaN.
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    example = np.asarray(examples, dtype=np.int64)
    candidates = np.bincount(example)
    order = np.lexsort((-score, example))
    score, label, example = score[order], label[order], example[order]
    new = np.ones(len(score), dtype=bool)
    new[1:] = (np.diff(example) != 0) | (score[1:] != score[:-1])
    start = np.flatnonzero(new)
    run_example = example[start]
    first = np.cumsum(candidates) - candidates
    return TieRuns(
        example=run_example,
        above=start - first[run_example],
        size=np.diff(start, append=len(score)),
        positives=np.add.reduceat(label, start),
        candidates=candidates,
        targets=np.bincount(example, weights=label).astype(np.int64),
    )


def recall(runs: TieRuns, k: int) -> Floats:
    """Share of the positives within the first k: sum over runs of p * min(max(k - a, 0), n) / n, over P."""
    within = np.clip(k - runs.above, 0, runs.size)
    return _ratio(runs.total(runs.positives * within / runs.size), runs.targets)


def ndcg(runs: TieRuns, k: int) -> Floats:
    """Binary gains with discount 1 / log2(1 + rank), over the gain of the best order.

    With D(r) the sum of the first r discounts: sum over runs of p / n * (D(min(a + n, k)) - D(min(a, k))),
    over D(min(P, k)).
    """
    k = min(k, int(runs.candidates.max()))
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    inside = discount[np.minimum(runs.above + runs.size, k)] - discount[np.minimum(runs.above, k)]
    return _ratio(runs.total(runs.positives / runs.size * inside), discount[np.minimum(runs.targets, k)])


def mrr(runs: TieRuns, k: int) -> Floats:
    """Reciprocal rank of the first positive, 0 beyond k: sum over j <= k - a of P(J = j) / (a + j).

    J is the place of the first positive inside the first run that has one:
    P(J = j) = C(n - j, p - 1) / C(n, p).
    """
    return _first_positive(runs, k)[0]


def hit(runs: TieRuns, k: int) -> Floats:
    """Probability that a positive is within the first k: 1 - C(n - p, m) / C(n, m).

    n and p are those of the first run with a positive, m = min(max(k - a, 0), n).
    """
    return _first_positive(runs, k)[1]


def auc(runs: TieRuns) -> Floats:
    """Probability that a positive stands above a negative, a tie counting half.

    Sum over runs of p * (negatives below the run + (n - p) / 2), over P * (N - P).
    """
    negatives = runs.size - runs.positives
    all_negatives = runs.candidates - runs.targets
    seen = np.cumsum(negatives)
    below = np.cumsum(all_negatives)[runs.example] - seen
    return _ratio(runs.total(runs.positives * (below + negatives / 2)), runs.targets * all_negatives)


def ranking_metrics(scores: ArrayLike, labels: ArrayLike, examples: ArrayLike, ks: Sequence[int]) -> dict[str, Floats]:
    """Every metric by name (`recall@3`, ..., `auc`), one value per example; arguments as for `tie_runs`.

    NaN where a metric is undefined: all of them without a positive, `auc` also without a negative. Many candidates are
    looked at in parts of whole examples, so that memory holds little beside the arguments.
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    example = np.asarray(examples, dtype=np.int64)
    if (np.diff(example) < 0).any():
        order = np.argsort(example, kind="stable")
        score, label, example = score[order], label[order], example[order]
    found = [
        _metrics(tie_runs(score[part], label[part], example[part] - example[part.start]), ks)
        for part in example_parts(example)
    ]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _metrics(runs: TieRuns, ks: Sequence[int]) -> dict[str, Floats]:
    kinds = {"recall": recall, "mrr": mrr, "ndcg": ndcg, "hit": hit}
    return {f"{name}@{k}": metric(runs, k) for name, metric in kinds.items() for k in ks} | {"auc": auc(runs)}


def example_parts(example: Ints) -> Iterator[slice]:
    """Runs of whole examples of about `AT_ONCE` candidates; `example` is sorted."""
    starts = np.flatnonzero(np.diff(example, prepend=-1))
    first = starts[np.flatnonzero(np.diff(starts // AT_ONCE, prepend=-1))]
    for begin, end in pairwise([*first.tolist(), example.size]):
        yield slice(begin, end)


def _first_positive(runs: TieRuns, k: int) -> tuple[Floats, Floats]:
    """Expected reciprocal rank and probability of the first positive within k, per example."""
    holding = np.flatnonzero(runs.positives)
    examples, first = np.unique(runs.example[holding], return_index=True)
    run = holding[first]
    above, size, positives = runs.above[run], runs.size[run], runs.positives[run]
    reciprocal, missed, later = np.zeros(len(run)), np.ones(len(run)), np.ones(len(run))
    for j in range(1, min(k, int(size.max(initial=0))) + 1):
        left = np.maximum(size - j + 1, 1)
        within = above + j <= k
        reciprocal += np.where(within, later * positives / left / (above + j), 0)
        later = later * np.maximum(left - positives, 0) / left
        missed = np.where(within, later, missed)
    result = np.full((2, len(runs.candidates)), np.nan)
    result[:, examples] = reciprocal, 1 - missed
    return result[0], result[1]


def _ratio(above: Floats, below: Floats | Ints) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio
