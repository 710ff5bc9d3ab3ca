"""Percentile bootstrap over users: how far a mean would move had other users been drawn."""

from dataclasses import dataclass

import numpy as np

from trsr.evaluation.metrics import Floats, Ints

LEVEL = 0.95
DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over users and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def user_means(values: Floats, users: Ints) -> Floats:
    """Average the rows of `values` (examples, columns) per user, so that every user counts once.

    `users` gives the user (0 .. number of users - 1) of each row; the result is (users, columns).
    """
    sums = np.zeros((int(users.max()) + 1, values.shape[1]))
    np.add.at(sums, users, values)
    means: Floats = sums / np.bincount(users)[:, None]
    return means


def bootstrap(values: Floats, resamples: int, seed: int) -> list[Interval]:
    """One interval per column of `values` (users, columns).

    All columns share the same resamples of users, and the same seed draws the same resamples for any columns:
    metrics and models side by side can be compared.
    """
    users = len(values)
    mean = values.mean(axis=0)
    spread = values - mean
    generator = np.random.default_rng(seed)
    batch = max(1, DRAWN_AT_ONCE // users)
    means = []
    for done in range(0, resamples, batch):
        rows = min(batch, resamples - done)
        drawn = generator.integers(users, size=(rows, users)) + users * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users)
        means.append(mean + times @ spread / users)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return [Interval(*map(float, bounds)) for bounds in zip(mean, low, high, strict=True)]
