import numpy as np
import pytest

from trsr.evaluation import intervals
from trsr.evaluation.intervals import bootstrap, user_means


def test_a_user_with_many_examples_counts_once():
    means = user_means(np.array([[1.0], [0.0], [0.0], [1.0]]), np.array([0, 0, 0, 1]))
    assert means.ravel().tolist() == pytest.approx([1 / 3, 1.0])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    held = []
    for seed in range(300):
        interval = bootstrap(rng.binomial(1, 0.4, size=(120, 1)).astype(float), 300, seed)[0]
        held.append(interval.low <= 0.4 <= interval.high)
    assert 0.90 <= np.mean(held) <= 0.985


def test_the_same_seed_gives_the_same_interval_and_another_seed_does_not():
    values = np.random.default_rng(0).random((80, 2))
    assert bootstrap(values, 500, 7) == bootstrap(values, 500, 7)
    assert bootstrap(values, 500, 7) != bootstrap(values, 500, 8)


def test_every_model_meets_the_same_resamples():
    values = np.random.default_rng(1).random((60, 1))
    alone = bootstrap(values, 400, 7)[0]
    beside, shifted = bootstrap(np.hstack([values, values + 1]), 400, 7)
    assert (beside.low, beside.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert (shifted.low - 1, shifted.high - 1) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_drawing_in_batches_changes_nothing(monkeypatch):
    values = np.random.default_rng(2).random((50, 3))
    whole = bootstrap(values, 101, 7)
    monkeypatch.setattr(intervals, "DRAWN_AT_ONCE", 7 * 50)
    assert [vars(i) for i in bootstrap(values, 101, 7)] == [pytest.approx(vars(i), abs=1e-12) for i in whole]


def test_a_model_that_is_the_same_for_every_user_has_no_width():
    interval = bootstrap(np.full((33, 1), 3 / 21), 200, 7)[0]
    assert (interval.mean, interval.low, interval.high) == pytest.approx((3 / 21,) * 3, abs=1e-15)
