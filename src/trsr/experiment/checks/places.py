"""Does the place of a candidate in the list that a scorer was given tell its score, or the target?"""

from math import sqrt
from statistics import NormalDist

import numpy as np
import polars as pl

from trsr.data.columns import EXAMPLE, IMPRESSION, LABEL, SOURCE
from trsr.data.seeds import generator
from trsr.evaluation.metrics import Floats, Ints
from trsr.evaluation.table import number
from trsr.experiment.checks.entry import Entry, entry

DRAWS = 2_000
SIGNIFICANCE = 0.001  # a run asks this of every model, twice
LEAST_CORRELATION = 0.02
"""Effects below are not worth a look, however many examples show them."""

_THIRDS = ("first", "middle", "last")
_IN_ORDER_OF_DATA = (IMPRESSION, "catalogue")
_TOLD = "; told only, for these candidates stand in the order of the data, which may know something"


def target_places(candidates: pl.DataFrame) -> Entry:
    """Do targets stand at random places among the candidates?

    The sum of the places of P targets among N is P (N - 1) / 2 by chance, with variance P (N - P) (N + 1) / 12 (that
    of the Wilcoxon rank sum); sums of all examples are added up, and p is by the normal distribution.
    """
    placed = candidates.with_columns(pl.int_range(pl.len()).over(EXAMPLE).alias("place"))
    sums = placed.group_by(EXAMPLE).agg(
        pl.len().cast(pl.Float64).alias("n"),
        pl.col(LABEL).cast(pl.Float64).sum().alias("p"),
        pl.col("place").filter(pl.col(LABEL) == 1).sum().cast(pl.Float64).alias("sum"),
    )
    n, p, total = (sums[name].to_numpy() for name in ("n", "p", "sum"))
    variance = float((p * (n - p) * (n + 1) / 12).sum())
    z = float((total - p * (n - 1) / 2).sum()) / sqrt(variance) if variance else 0.0
    mean = float((total / (p * np.maximum(n - 1, 1))).mean())
    chance = 2 * NormalDist().cdf(-abs(z))
    detail = f"on average {mean:.0%} of the way through the list, 50 % by chance; p = {number(chance)}"
    if not _are_drawn(candidates):
        return entry("targets stand at random places", True, detail + _TOLD)
    good = chance > SIGNIFICANCE
    if not good:
        detail += "; a scorer that knows the order knows the target: shuffle the candidates of every example"
    return entry("targets stand at random places", good, detail)


def score_places(name: str, scored: pl.DataFrame, k: int, seed: int) -> Entry:
    """Do the scores of a model, or the hits of its targets, go with the place in the list? `scored` as by `beside`.

    Scores: the mean over examples of Spearman's correlation of score and place among the negatives. With places at
    random each has mean 0 and variance 1 / (n - 1) exactly, ties or not. Hits: the share of targets within the first k
    by third of the list, by a permutation test of the differences between thirds.
    """
    correlation, p_scores = _correlation(scored.filter(pl.col(LABEL) == 0))
    third, hits = _hits(scored, k)
    p_hits = _differ(third, hits, generator(seed, f"places/{name}"))
    shares = [(word, hits[third == index]) for index, word in enumerate(_THIRDS)]
    told = ", ".join(f"{number(float(part.mean()))} in the {word}" for word, part in shares if len(part))
    detail = (
        f"correlation of score and place among negatives {number(correlation)} (p = {number(p_scores)}); recall@{k} of "
        f"targets by third of the list: {told} (p = {number(p_hits)})"
    )
    check = f"the place in the list does not matter ({name})"
    if not _are_drawn(scored):
        return entry(check, True, detail + _TOLD)
    good = (p_scores > SIGNIFICANCE or abs(correlation) < LEAST_CORRELATION) and p_hits > SIGNIFICANCE
    if not good:
        detail += "; the model goes by the place: score each candidate alone, or shuffle and average"
    return entry(check, good, detail)


def _are_drawn(candidates: pl.DataFrame) -> bool:
    """Whether the order of the candidates was drawn, as it is where the negatives were."""
    return not candidates[SOURCE].is_in(list(_IN_ORDER_OF_DATA)).any()


def _correlation(negatives: pl.DataFrame) -> tuple[float, float]:
    """Mean of Spearman's correlation of score and place within examples, and its two-sided p."""
    ranks = negatives.select(
        EXAMPLE, *(pl.col(name).rank("average").over(EXAMPLE).alias(name) for name in ("score", "place"))
    )
    found = (
        ranks.group_by(EXAMPLE)
        .agg(pl.corr("score", "place").alias("r"), pl.len().alias("n"))
        .filter(pl.col("r").is_finite())
    )
    if found.is_empty():
        return 0.0, 1.0
    error = sqrt(float((1 / (found["n"].to_numpy() - 1.0)).sum()))
    total = float(found["r"].to_numpy().sum())
    return total / found.height, 2 * NormalDist().cdf(-abs(total) / error)


def _hits(scored: pl.DataFrame, k: int) -> tuple[Ints, Floats]:
    """Of every target, the third of the list that it stands in and the probability that it is within the first k."""
    above = pl.col("score").rank("min", descending=True).over(EXAMPLE).cast(pl.Int64) - 1
    tied = pl.len().over(EXAMPLE, "score").cast(pl.Int64)
    found = scored.select(
        LABEL,
        third=3 * pl.col("place") // pl.len().over(EXAMPLE),
        hit=(k - above).clip(0, tied) / tied,
    ).filter(pl.col(LABEL) == 1)
    return found["third"].to_numpy().astype(np.int64), found["hit"].to_numpy()


def _differ(groups: Ints, values: Floats, rng: np.random.Generator) -> float:
    """The p of the sum of squares between the means of groups, over permutations of the values."""
    sizes = np.bincount(groups, minlength=len(_THIRDS)).astype(np.float64)

    def between(drawn: Floats) -> float:
        sums = np.bincount(groups, drawn, len(_THIRDS))
        return float(np.divide(sums**2, sizes, out=np.zeros(len(_THIRDS)), where=sizes > 0).sum())

    seen = between(values) - 1e-9 * max(float((values**2).sum()), 1.0)
    as_far = sum(between(rng.permutation(values)) >= seen for _ in range(DRAWS))
    return (as_far + 1) / (DRAWS + 1)
