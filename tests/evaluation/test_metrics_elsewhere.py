"""What a user would lose: numbers that no other library gives for the same scores.

scikit-learn on tied scores; trec_eval and the script of MS MARCO (both through ir-measures) on scores without ties,
which these break by name.
"""

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, Success, nDCG
from sklearn.metrics import label_ranking_average_precision_score, label_ranking_loss, ndcg_score, roc_auc_score

from trsr.evaluation.metrics import ranking_metrics

KS = [1, 3, 5, 10]


def tied_examples(positives, levels, count=60, candidates=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permuted(np.tile([1] * positives + [0] * (candidates - positives), (count, 1)), axis=1)
    return rng.integers(levels, size=(count, candidates)).astype(float), labels


def measured(scores, labels):
    count, candidates = scores.shape
    return ranking_metrics(scores.ravel(), labels.ravel(), np.repeat(np.arange(count), candidates), KS)


@pytest.mark.parametrize("levels", [1, 2, 4, 50])
@pytest.mark.parametrize("positives", [1, 3])
def test_with_ties_ndcg_and_auc_are_those_of_scikit_learn(positives, levels):
    scores, labels = tied_examples(positives, levels)
    found = measured(scores, labels)
    for k in KS:
        theirs = [ndcg_score(labels[row : row + 1], scores[row : row + 1], k=k) for row in range(len(scores))]
        assert found[f"ndcg@{k}"] == pytest.approx(theirs, abs=1e-12)
    aucs = [roc_auc_score(*rows) for rows in zip(labels, scores, strict=True)]
    assert found["auc"] == pytest.approx(aucs, abs=1e-12)


def test_a_tie_is_half_of_what_scikit_learn_counts_as_wrong_both_ways():
    """`label_ranking_loss` counts a tied pair as wrong, whichever way the scores are turned."""
    scores, labels = tied_examples(3, 4)
    wrong, right = label_ranking_loss(labels, scores), label_ranking_loss(labels, -scores)
    assert wrong + right > 1
    assert measured(scores, labels)["auc"].mean() == pytest.approx(1 - (wrong + 1 - right) / 2, abs=1e-12)


def test_with_ties_a_single_target_has_the_mean_of_the_ranks_that_scikit_learn_bounds():
    """`label_ranking_average_precision` is 1 / (the worst rank that ties allow); of turned scores, the best one."""
    scores, labels = tied_examples(1, 4)
    found = measured(scores, labels)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        worst = round(1 / label_ranking_average_precision_score([label], [score]))
        best = len(score) + 1 - round(1 / label_ranking_average_precision_score([label], [-score]))
        ranks = np.arange(best, worst + 1)
        for k in KS:
            assert found[f"mrr@{k}"][row] == pytest.approx(np.mean((ranks <= k) / ranks), abs=1e-12)
            for name in ("recall", "hit"):
                assert found[f"{name}@{k}"][row] == pytest.approx(np.mean(ranks <= k), abs=1e-12)


@pytest.mark.parametrize("positives", [1, 3])
def test_without_ties_every_metric_is_that_of_ir_measures(positives):
    rng = np.random.default_rng(3)
    scores = rng.permuted(np.tile(np.arange(12.0), (40, 1)), axis=1)
    _, labels = tied_examples(positives, 1, count=40, seed=4)
    found = measured(scores, labels)
    qrels = {str(row): {str(item): int(x) for item, x in enumerate(values)} for row, values in enumerate(labels)}
    run = {str(row): {str(item): float(x) for item, x in enumerate(values)} for row, values in enumerate(scores)}
    theirs = {"recall": R, "mrr": RR, "ndcg": nDCG, "hit": Success}
    for name, measure in theirs.items():
        for k in KS:
            rows = {int(one.query_id): one.value for one in ir_measures.iter_calc([measure @ k], qrels, run)}
            assert found[f"{name}@{k}"] == pytest.approx([rows[row] for row in range(40)], abs=1e-9), (name, k)
