"""Paired tests over users: could the difference between two rankers be the luck of who was in the test?

Every function takes differences per user, (users, columns): one ranker's value minus the other's, each the mean over
the user's examples. A user is one observation, however many examples it has.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from trsr.evaluation.intervals import DRAWN_AT_ONCE
from trsr.evaluation.metrics import Floats

FLIPS = 9_999
SIGNIFICANCE, POWER = 0.05, 0.8
FEWEST_USERS = 6
"""With fewer, no assignment of signs is rare enough: the smallest two-sided p is 2 / 2 ** users."""


def user_differences(values: Floats, against: Floats) -> Floats:
    """One minus the other, with what is left of rounding taken for the zero that it is."""
    return np.round(values - against, 12) + 0.0


def sign_flip_test(differences: Floats, seed: int, flips: int = FLIPS) -> Floats:
    """Two-sided p of a mean difference of zero, one per column.

    If it did not matter which ranker is which, every user's difference could as well have the other sign. Users
    without a difference change nothing and are left out. All assignments of signs are counted where there are at
    most `flips` of them; else that many are drawn, the same for every column, and the one that was seen is counted
    with them, so that p is never 0 (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    """
    p = np.ones(differences.shape[1])
    many = np.zeros(differences.shape[1], dtype=bool)
    for column, values in enumerate(differences.T):
        changed = values[values != 0]
        many[column] = 2 ** len(changed) > flips
        if not many[column]:
            p[column] = _as_far(changed @ _all_signs(len(changed)), changed[:, None]).mean()
    if many.any():
        p[many] = _drawn_p(differences[:, many], seed, flips)
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of one family, in the given order (Holm 1979).

    Rejecting those at or below a level keeps the chance of even one false rejection in the family at that level,
    whatever the tests have to do with one another.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def smallest_detectable(differences: Floats) -> list[float | None]:
    """The true difference that one two-sided test at 5 % on as many users would find 4 times in 5, per column.

    (t(1 - .05 / 2) + t(.8)) * sd / sqrt(users) with users - 1 degrees of freedom, sd that of the differences (Bloom
    1995, "Minimum detectable effects"). None below `FEWEST_USERS`, and where all differences are equal and their
    spread is unknown.
    """
    users = len(differences)
    if users < FEWEST_USERS:
        return [None] * differences.shape[1]
    reach = (t_quantile(1 - SIGNIFICANCE / 2, users - 1) + t_quantile(POWER, users - 1)) / sqrt(users)
    equal = np.ptp(differences, axis=0) == 0
    spread = differences.std(axis=0, ddof=1)
    return [None if same else float(reach * sd) for sd, same in zip(spread, equal, strict=True)]


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t from that of the normal distribution (Abramowitz and Stegun 1964, 26.7.5).

    Off by less than .0003 from 5 degrees of freedom on, for the two probabilities of `smallest_detectable`.
    """
    x = NormalDist().inv_cdf(probability)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def _drawn_p(differences: Floats, seed: int, flips: int) -> Floats:
    generator = np.random.default_rng([seed, 1])  # not the stream that the intervals are drawn from
    users = len(differences)
    batch = max(1, DRAWN_AT_ONCE // users)
    found = np.zeros(differences.shape[1])
    for start, end in pairwise([*range(0, flips, batch), flips]):
        signs = generator.integers(2, size=(end - start, users), dtype=np.int8) * 2.0 - 1
        found += _as_far(signs @ differences, differences).sum(axis=0)
    p: Floats = (found + 1) / (flips + 1)
    return p


def _as_far(sums: Floats, differences: Floats) -> NDArray[np.bool_]:
    """Whether a sum is as far from zero as the one that was seen; the order of adding must not decide it."""
    slack = 1e-9 * np.abs(differences).sum(axis=0)
    far: NDArray[np.bool_] = np.abs(sums) >= np.abs(differences.sum(axis=0)) - slack
    return far


def _all_signs(users: int) -> Floats:
    """Every assignment of signs, one per column."""
    bits = np.arange(2**users) >> np.arange(users)[:, None] & 1
    signs: Floats = bits.astype(np.float64) * 2 - 1
    return signs
