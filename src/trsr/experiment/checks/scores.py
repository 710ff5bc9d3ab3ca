"""Is a model measured fairly: ties, the order of rows, and what its metrics are worth by chance?"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from trsr.data.columns import EXAMPLE
from trsr.data.seeds import generator
from trsr.evaluation.metrics import Floats, Ints, ranking_metrics
from trsr.evaluation.table import number
from trsr.experiment.checks.entry import Entry, arrays, entry

SHUFFLES = 100
MOST_TIED = 0.05
_ERRORS = 5.0  # standard errors that the mean over the shuffles may be away from chance
_ROUNDING = 1e-9


def ties(name: str, scores: pl.DataFrame, *, may_tie: bool = False) -> Entry:
    """How many scores are tied within their example? Of a model that `may_tie` this is told and not judged."""
    tied = scores.group_by(EXAMPLE, "score").len().filter(pl.col("len") > 1)["len"].sum()
    share = tied / max(len(scores), 1)
    told = " (told, not judged)" if may_tie else ""
    return entry(
        f"scores tell candidates apart ({name})", may_tie or share < MOST_TIED, f"{share:.1%} of scores are tied{told}"
    )


def chance(name: str, scored: pl.DataFrame, ks: Sequence[int], seed: int) -> Entry:
    """Are recall and AUC of a model those of chance once labels are shuffled within examples, in any order of rows?

    `scored` is as `beside` makes it. With shuffled labels any scores have recall@k k/n and AUC 1/2 in the mean, n
    candidates each; where a model has not, the metrics favour something other than the ranking.
    """
    scores, labels, examples = arrays(scored)
    rng = generator(seed, f"shuffled labels/{name}")
    real = _measured(scores, labels, examples, ks)
    order = rng.permutation(len(scores))
    moved = _measured(scores[order], labels[order], examples[order], ks)
    bent = [metric for metric in real if np.abs(moved[metric] - real[metric]).max() > _ROUNDING]
    drawn = [_measured(scores, _shuffled(labels, examples, rng), examples, ks) for _ in range(SHUFFLES)]
    means = {metric: np.array([one[metric].mean() for one in drawn]) for metric in real}
    sizes = np.bincount(examples)
    expected = {f"recall@{k}": float(np.minimum(k / sizes, 1).mean()) for k in ks} | {"auc": 0.5}
    biased = [metric for metric in real if _is_away(means[metric], expected[metric])]
    shown = f"recall@{ks[0]}"
    above = int((means[shown] >= real[shown].mean() - _ROUNDING).sum())
    detail = (
        f"{shown} {number(float(real[shown].mean()))}; with labels shuffled {SHUFFLES} times "
        f"{number(float(means[shown].mean()))} on average (chance {number(expected[shown])}), {above} times as high (p "
        f"= {number((above + 1) / (SHUFFLES + 1))} for no better than chance)"
    )
    if biased:
        detail += f"; {', '.join(biased)} away from chance: the metric favours something, do not use it"
    if bent:
        detail += f"; {', '.join(bent)} changed with the order of rows: ties are not resolved fairly, do not use it"
    return entry(f"shuffled labels give chance ({name})", not biased and not bent, detail)


def _measured(scores: Floats, labels: Ints, examples: Ints, ks: Sequence[int]) -> dict[str, Floats]:
    found = ranking_metrics(scores, labels, examples, ks)
    return {metric: values for metric, values in found.items() if metric.partition("@")[0] in ("recall", "auc")}


def _shuffled(labels: Ints, examples: Ints, rng: np.random.Generator) -> Ints:
    """The labels in another order within each example; rows of an example need not stand together."""
    moved = np.empty_like(labels)
    moved[np.argsort(examples, kind="stable")] = labels[np.lexsort((rng.random(len(examples)), examples))]
    return moved


def _is_away(means: Floats, expected: float) -> bool:
    error = means.std(ddof=1) / np.sqrt(len(means))
    return bool(abs(means.mean() - expected) > _ERRORS * error + _ROUNDING)
