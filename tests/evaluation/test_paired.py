"""What a user would lose: a claim that luck made, or a real gain called luck."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trsr.evaluation import paired
from trsr.evaluation.intervals import bootstrap
from trsr.evaluation.paired import holm, sign_flip_test, smallest_detectable, t_quantile, user_differences

steps = st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.1, 0.2, 1 / 3, 1.0])


def scipy_p(differences: np.ndarray) -> float:
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    return float(test.pvalue)


@settings(max_examples=25, deadline=None)
@given(st.lists(steps, min_size=2, max_size=7))
def test_few_users_get_the_p_of_all_assignments_of_signs_as_in_scipy(differences):
    values = np.array(differences)
    found = sign_flip_test(values[:, None], seed=1)[0]
    sums = [abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
            for signs in product((-1, 1), repeat=len(differences))]  # fmt: skip
    assert found == pytest.approx(np.mean([total >= abs(sum(differences)) - 1e-12 for total in sums]), abs=1e-12)
    assert found == pytest.approx(scipy_p(values), abs=1e-12)


def test_many_users_get_the_p_of_scipy_as_far_as_drawing_allows():
    rng = np.random.default_rng(5)
    values = rng.normal([0.0, 0.1, 0.3, 1.0], 1, size=(40, 4))
    found = sign_flip_test(values, seed=3)
    for column, p in enumerate(found):
        theirs = stats.permutation_test(
            (values[:, column],),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            n_resamples=9999,
            vectorized=True,
            rng=11,
        )
        assert p == pytest.approx(theirs.pvalue, abs=5 * np.sqrt(0.25 / 9999))
    assert found[0] > 0.05 > found[3]


def test_all_assignments_and_drawn_ones_agree(monkeypatch):
    values = np.random.default_rng(6).choice([-1, 0, 0.5, 1], size=(12, 5))
    exact = sign_flip_test(values, seed=1)
    drawn = sign_flip_test(values, seed=1, flips=4000)
    assert not np.array_equal(exact, drawn)
    assert drawn == pytest.approx(exact, abs=0.04)


def test_drawing_in_batches_changes_nothing(monkeypatch):
    values = np.random.default_rng(2).normal(0.2, 1, size=(50, 3))
    whole = sign_flip_test(values, seed=7, flips=501)
    monkeypatch.setattr(paired, "DRAWN_AT_ONCE", 40 * 50)
    assert sign_flip_test(values, seed=7, flips=501).tolist() == whole.tolist()


def test_the_seed_decides_what_is_drawn():
    values = np.random.default_rng(2).normal(0.2, 1, size=(50, 3))
    assert sign_flip_test(values, seed=7).tolist() == sign_flip_test(values, seed=7).tolist()
    assert sign_flip_test(values, seed=7).tolist() != sign_flip_test(values, seed=8).tolist()


@pytest.mark.parametrize("spread", ["normal", "few values"])
def test_where_nothing_is_different_p_is_below_a_level_as_often_as_the_level_says(spread):
    rng = np.random.default_rng(21)
    values = rng.normal(size=(30, 800)) if spread == "normal" else rng.choice([-1, 0, 0, 1], size=(30, 800))
    p = sign_flip_test(values, seed=4)
    for level in (0.01, 0.05, 0.2, 0.5):
        slack = 4 * np.sqrt(level * (1 - level) / 800)
        assert (p <= level).mean() <= level + slack
        if spread == "normal":
            assert (p <= level).mean() >= level - slack
    if spread == "normal":
        assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_difference_is_found_as_often_as_the_smallest_detectable_one_promises():
    rng = np.random.default_rng(22)
    for users in (8, 60):
        noise = rng.normal(size=(users, 600))
        promised = float(np.mean(smallest_detectable(noise)))
        found = (sign_flip_test(noise + promised, seed=4) <= 0.05).mean()
        assert 0.73 <= found <= 0.87, (users, found)


def test_smallest_detectable_is_the_formula_with_scipys_quantiles():
    values = np.random.default_rng(9).normal(0.3, 0.4, size=(25, 2))
    reach = (stats.t.ppf(0.975, 24) + stats.t.ppf(0.8, 24)) / 5
    assert smallest_detectable(values) == pytest.approx([reach * np.std(column, ddof=1) for column in values.T], 1e-5)


def test_what_a_test_cannot_see_is_not_given_a_number():
    values = np.random.default_rng(9).normal(size=(5, 1))
    assert smallest_detectable(values) == [None]
    assert sign_flip_test(np.ones((5, 1)), seed=1)[0] == 2 / 2**5 > 0.05
    assert sign_flip_test(np.ones((6, 1)), seed=1)[0] == 2 / 2**6 < 0.05
    assert smallest_detectable(np.full((20, 1), 1 / 3)) == [None]


@pytest.mark.parametrize("freedom", [5, 6, 10, 79, 1000])
def test_the_quantiles_of_t_are_those_of_scipy(freedom):
    for probability in (0.8, 0.975):
        assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), abs=3e-4)


def test_p_is_never_zero_and_one_where_there_is_no_difference():
    values = np.column_stack([np.full(500, 0.2), np.zeros(500)])
    assert sign_flip_test(values, seed=1).tolist() == [1 / 10_000, 1.0]


def test_rounding_is_no_difference():
    first = np.array([(0.1 + 0.2) + 0.3] * 3)
    second = np.array([0.1 + (0.2 + 0.3)] * 3)
    assert (first != second).all()
    assert user_differences(first, second).tolist() == [0, 0, 0]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_what_testing_every_subset_gives(p_values):
    """The closure of Bonferroni's test: a hypothesis goes when every set of hypotheses that holds it goes."""
    numbers = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in combinations(numbers, size)]
    expected = [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets if index in s) for index in numbers]
    assert holm(p_values) == pytest.approx(expected, abs=1e-15)


def test_the_interval_of_a_difference_is_that_of_scipy_as_far_as_drawing_allows():
    values = np.random.default_rng(8).choice([-1, 0, 0, 0.5, 1], size=(90, 1))
    mine = bootstrap(values, 4000, 7)[0]
    theirs = stats.bootstrap((values[:, 0],), np.mean, n_resamples=4000, method="percentile", rng=3)
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)
