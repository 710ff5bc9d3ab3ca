"""What a user would lose: numbers that depend on file order, or that no other library would reproduce."""

from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, roc_auc_score

from trsr.evaluation import metrics
from trsr.evaluation.metrics import ranking_metrics

KS = [1, 3, 5, 40]


def one_order(labels: list[int], k: int) -> dict[str, float]:
    """The metrics of one strict order, straight from their definitions."""
    ranks = [rank for rank, label in enumerate(labels, start=1) if label]
    within = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(len(ranks), k) + 1))
    return {
        f"recall@{k}": len(within) / len(ranks),
        f"mrr@{k}": 1 / within[0] if within else 0.0,
        f"ndcg@{k}": sum(1 / log2(rank + 1) for rank in within) / ideal,
        f"hit@{k}": float(bool(within)),
    }


def mean_over_tied_orders(scores: list[int], labels: list[int], k: int) -> dict[str, float]:
    found = [
        one_order([labels[i] for i in order], k)
        for order in permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    return {name: float(np.mean([metrics[name] for metrics in found])) for name in found[0]}


def tied_auc(scores: list[int], labels: list[int]) -> float:
    pairs = [
        (p, n) for p, a in zip(scores, labels, strict=True) if a for n, b in zip(scores, labels, strict=True) if not b
    ]
    return float(np.mean([(p > n) + (p == n) / 2 for p, n in pairs]))


example = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=6).filter(
    lambda rows: {label for _, label in rows} == {0, 1}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(example, min_size=1, max_size=3), st.integers(1, 8), st.randoms(use_true_random=False))
def test_ties_count_as_the_mean_over_all_tied_orders(groups, k, random):
    rows = [(index, score, label) for index, group in enumerate(groups) for score, label in group]
    random.shuffle(rows)
    examples, scores, labels = zip(*rows, strict=True)
    found = ranking_metrics(scores, labels, examples, [k])
    for index, group in enumerate(groups):
        group_scores, group_labels = [score for score, _ in group], [label for _, label in group]
        expected = mean_over_tied_orders(group_scores, group_labels, k)
        expected["auc"] = tied_auc(group_scores, group_labels)
        assert {name: values[index] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("candidates", [2, 7, 21, 100])
def test_a_constant_scorer_is_exactly_chance(candidates):
    labels = [1] + [0] * (candidates - 1)
    found = ranking_metrics([0.5] * candidates, labels, [0] * candidates, KS)
    for k in KS:
        assert found[f"recall@{k}"][0] == min(k, candidates) / candidates
        assert found[f"hit@{k}"][0] == pytest.approx(min(k, candidates) / candidates, abs=1e-12)
        expected = sum(1 / rank for rank in range(1, min(k, candidates) + 1)) / candidates
        assert found[f"mrr@{k}"][0] == pytest.approx(expected, abs=1e-12)
    assert found["auc"][0] == 0.5


def test_a_target_that_is_first_in_the_file_gains_nothing_from_ties():
    labels, tied = [1] + [0] * 20, [0.0] * 21
    first = ranking_metrics(tied, labels, [0] * 21, KS)
    last = ranking_metrics(tied, labels[::-1], [0] * 21, KS)
    assert {name: values[0] for name, values in first.items()} == {name: values[0] for name, values in last.items()}
    assert first["recall@1"][0] == 1 / 21


def test_without_ties_the_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    scores = rng.permuted(np.tile(np.arange(12.0), (30, 1)), axis=1)
    labels = rng.permuted(np.tile([1, 1, 1] + [0] * 9, (30, 1)), axis=1)
    examples = np.repeat(np.arange(30), 12)
    found = ranking_metrics(scores.ravel(), labels.ravel(), examples, [3, 5])
    for k in (3, 5):
        assert found[f"ndcg@{k}"].mean() == pytest.approx(ndcg_score(labels, scores, k=k, ignore_ties=True))
    assert found["auc"] == pytest.approx([roc_auc_score(*rows) for rows in zip(labels, scores, strict=True)])


def test_reciprocal_rank_of_a_single_target_agrees_with_scikit_learn():
    rng = np.random.default_rng(4)
    scores, labels = rng.normal(size=(50, 9)), np.eye(9, dtype=int)[rng.integers(9, size=50)]
    found = ranking_metrics(scores.ravel(), labels.ravel(), np.repeat(np.arange(50), 9), [9])
    assert found["mrr@9"].mean() == pytest.approx(label_ranking_average_precision_score(labels, scores))


def test_examples_may_differ_in_candidates_and_k_may_exceed_them():
    found = ranking_metrics([3, 2, 1, 5, 4, 1, 0], [0, 0, 1, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1], [2, 10])
    assert found["recall@2"].tolist() == [0, 1]
    assert found["recall@10"].tolist() == [1, 1]
    assert found["mrr@10"] == pytest.approx([1 / 3, 1 / 2])
    assert found["ndcg@10"] == pytest.approx([1 / 2, 1 / log2(3)])


def test_what_cannot_be_ranked_is_undefined_not_zero():
    found = ranking_metrics([1, 2, 3, 4], [0, 0, 1, 1], [0, 0, 1, 1], [1])
    assert all(np.isnan(values[0]) for values in found.values())
    assert np.isnan(found["auc"][1])
    assert found["recall@1"][1] == 0.5


@pytest.mark.parametrize("at_once", [1, 7, 40])
def test_looking_at_parts_of_the_candidates_changes_nothing(monkeypatch, at_once):
    """A catalogue of candidates for every user fits into memory only in parts."""
    rng = np.random.default_rng(3)
    examples = rng.permutation(np.repeat(np.arange(12), rng.integers(2, 15, size=12)))
    labels = np.zeros(len(examples), int)
    for index in range(12):
        labels[rng.choice(np.flatnonzero(examples == index), size=1 + index % 2, replace=False)] = 1
    scores = rng.integers(4, size=len(examples))
    whole = ranking_metrics(scores, labels, examples, KS)
    monkeypatch.setattr(metrics, "AT_ONCE", at_once)
    parts = ranking_metrics(scores, labels, examples, KS)
    assert all(np.array_equal(whole[name], parts[name], equal_nan=True) for name in whole)
