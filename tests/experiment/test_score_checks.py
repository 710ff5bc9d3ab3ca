"""A metric that favours something, and a scorer that goes by the place of a candidate, are found; fair ones are not."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from trsr.evaluation.metrics import ranking_metrics
from trsr.experiment.checks import places, scores
from trsr.experiment.checks.entry import beside, some_examples
from trsr.experiment.checks.places import score_places, target_places
from trsr.experiment.checks.prompts import shortened

EXAMPLES, SIZE = 200, 10


def candidates_of(rng, examples=EXAMPLES, size=SIZE, targets=1):
    rows = []
    for example in range(examples):
        labels = np.zeros(size, dtype=int)
        labels[rng.permutation(size)[:targets]] = 1
        rows += [(f"e{example}", f"u{example}", f"i{place}", int(label)) for place, label in enumerate(labels)]
    frame = pl.DataFrame(rows, schema=["example_id", "user_id", "item_id", "label"], orient="row")
    return frame.with_columns(source=pl.lit("uniform"))


def scored(candidates, values):
    return beside(candidates, candidates.select("example_id", "item_id", pl.Series("score", values)))


def place_of(candidates):
    return candidates["item_id"].str.slice(1).cast(pl.Float64).to_numpy()


def fair(candidates, rng):
    """Knows something of the target, nothing of the place; a third of the scores are tied."""
    return np.round(candidates["label"].to_numpy() + rng.normal(size=len(candidates)), 1)


@pytest.mark.parametrize("targets", [1, 3])
def test_fair_scorers_and_metrics_are_found_fair(targets):
    found = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        candidates = candidates_of(rng, targets=targets)
        frame = scored(candidates, fair(candidates, rng))
        found += [scores.chance("fair", frame, [3, 5], seed), score_places("fair", frame, 3, seed)]
        found.append(target_places(candidates))
    assert [line for line in found if line["result"] != "ok"] == []
    assert "0 times as high (p = .010 for no better than chance)" in found[0]["detail"]


def test_the_share_of_tied_scores_is_told_and_judged_where_nothing_should_tie():
    frame = pl.DataFrame({"example_id": ["a"] * 5 + ["b"] * 5, "score": [1.0, 1, 2, 3, 4, 1, 2, 3, 4, 5]})
    line = scores.ties("trsr-none", frame)
    assert (line["result"], line["detail"]) == ("look", "20.0% of scores are tied")
    assert scores.ties("popularity", frame, may_tie=True) == line | {
        "check": "scores tell candidates apart (popularity)",
        "result": "ok",
        "detail": "20.0% of scores are tied (told, not judged)",
    }
    assert scores.ties("trsr-none", frame.tail(5))["result"] == "ok"


def test_the_share_of_shortened_prompts_is_told_and_what_had_no_room_is_looked_at():
    counts = {
        "prompts": 8,
        "prompts_shortened": 6,
        "items_shortened": 40,
        "summaries_shortened": 0,
        "prompts_with_recent_items_dropped": 0,
        "recent_items_dropped": 0,
        "longest_prompt": 99,
    }
    line = shortened("m", counts)
    assert line["result"] == "ok"
    assert line["detail"].startswith("75% of prompts are shortened: 40 item texts and 0 summaries cut, 0 recent items")
    for lost in ("summaries_shortened", "prompts_with_recent_items_dropped"):
        assert shortened("m", counts | {lost: 1})["result"] == "look"
    del counts["prompts_shortened"]
    assert shortened("m", counts)["detail"].startswith("40 item texts")


def test_a_scorer_that_knows_nothing_is_not_told_from_chance():
    rng = np.random.default_rng(0)
    candidates = candidates_of(rng)
    for values in (rng.normal(size=len(candidates)), np.zeros(len(candidates))):
        line = scores.chance("random", scored(candidates, values), [3], 1)
        assert line["result"] == "ok"
        assert float(line["detail"].partition("(p = ")[2][:4]) > 0.05
        assert "(chance .300)" in line["detail"]


def by_rule(rule):
    """Metrics that resolve ties by a rule of labels."""

    def measure(values, labels, examples, ks):
        order = np.lexsort((rule(labels), -np.asarray(values), examples))
        ranks = np.empty(len(order))
        ranks[order] = np.arange(len(order))
        return ranking_metrics(-ranks, labels, examples, ks)

    return measure


def tied_scores(candidates):
    return scored(candidates, np.round(np.random.default_rng(1).normal(size=len(candidates))))


def test_a_metric_that_gives_ties_to_the_target_is_found(monkeypatch):
    """As in the published code of the method, where a constant model gets 1.0."""
    frame = tied_scores(candidates_of(np.random.default_rng(1)))
    assert scores.chance("tied", frame, [3], 1)["result"] == "ok"
    monkeypatch.setattr(scores, "ranking_metrics", by_rule(lambda labels: -labels))
    line = scores.chance("tied", frame, [3], 1)
    assert line["result"] == "look"
    assert line["detail"].endswith("; recall@3, auc away from chance: the metric favours something, do not use it")


def test_a_metric_that_gives_ties_to_the_first_row_is_found(monkeypatch):
    monkeypatch.setattr(scores, "ranking_metrics", by_rule(lambda labels: np.arange(len(labels))))
    line = scores.chance("tied", tied_scores(candidates_of(np.random.default_rng(1))), [3], 1)
    assert line["result"] == "look"
    assert "recall@3, auc changed with the order of rows" in line["detail"]


@pytest.mark.parametrize("strength", [0.1, -0.3])
def test_a_scorer_that_goes_by_the_place_is_found(strength):
    rng = np.random.default_rng(2)
    candidates = candidates_of(rng)
    values = fair(candidates, rng) + strength * place_of(candidates)
    line = score_places("placed", scored(candidates, values), 3, 1)
    assert line["result"] == "look"
    assert line["detail"].endswith("the model goes by the place: score each candidate alone, or shuffle and average")
    correlation = float(line["detail"].partition("negatives ")[2].partition(" ")[0])
    assert np.sign(correlation) == np.sign(strength)


def test_a_scorer_that_sees_targets_in_the_middle_only_is_found_by_its_hits():
    """No correlation of score and place shows this: the negatives are fair, and both ends lose alike."""
    rng = np.random.default_rng(3)
    candidates = candidates_of(rng)
    is_middle = (place_of(candidates) >= 3) & (place_of(candidates) <= 6)
    values = rng.normal(size=len(candidates)) + 2 * candidates["label"].to_numpy() * is_middle
    line = score_places("middle", scored(candidates, values), 3, 1)
    assert line["result"] == "look"
    assert "(p = .000); the model" in line["detail"]


def test_the_correlation_of_score_and_place_is_that_of_scipy():
    rng = np.random.default_rng(4)
    candidates = candidates_of(rng, examples=30)
    values = np.round(rng.normal(size=len(candidates)), 1) + 0.05 * place_of(candidates)
    frame = scored(candidates, values).filter(pl.col("label") == 0)
    mean, p = places._correlation(frame)
    parts = frame.partition_by("example_id")
    each = [stats.spearmanr(part["place"], part["score"]).statistic for part in parts]
    assert mean == pytest.approx(np.mean(each))
    drawn = [
        np.mean([stats.spearmanr(rng.permutation(SIZE - 1), part["score"]).statistic for part in parts])
        for _ in range(60)
    ]
    assert np.std(drawn) == pytest.approx(1 / np.sqrt(30 * (SIZE - 2)), rel=0.35)
    assert p == pytest.approx(2 * stats.norm.sf(abs(mean) * np.sqrt(30 * (SIZE - 2))))


def test_the_test_of_hits_by_third_agrees_with_that_of_scipy():
    rng = np.random.default_rng(5)
    thirds = rng.integers(3, size=300)
    for shift in (0.0, 0.08, 0.25):
        hits = (rng.random(300) < 0.3 + shift * thirds).astype(float)
        table = [[(hits[thirds == third] == value).sum() for third in range(3)] for value in (0, 1)]
        wanted = stats.chi2_contingency(table).pvalue
        assert places._differ(thirds, hits, np.random.default_rng(0)) == pytest.approx(wanted, abs=0.03)


def test_a_tied_target_counts_by_its_chance_to_be_within_the_first():
    candidates = candidates_of(np.random.default_rng(6), examples=5)
    frame = scored(candidates, np.zeros(len(candidates)))
    thirds, hits = places._hits(frame, 3)
    assert hits == pytest.approx([0.3] * 5)
    assert thirds.tolist() == (3 * frame.filter(pl.col("label") == 1)["place"] // SIZE).to_list()


@pytest.mark.parametrize("targets", [1, 3])
def test_targets_that_come_first_too_often_are_found(targets):
    candidates = candidates_of(np.random.default_rng(7), examples=60, targets=targets)
    assert target_places(candidates)["result"] == "ok"
    first = candidates.sort("example_id", "label", descending=[False, True], maintain_order=True)
    line = target_places(first)
    assert line["result"] == "look"
    assert line["detail"].endswith(
        "p = .000; a scorer that knows the order knows the target: shuffle the candidates of every example"
    )


def test_candidates_in_the_order_of_the_data_are_told_and_not_marked():
    """An impression is shown in an order that knows something, so a fair scorer goes with the place."""
    rng = np.random.default_rng(2)
    candidates = candidates_of(rng).with_columns(source=pl.lit("impression"))
    values = fair(candidates, rng) - 0.3 * place_of(candidates)
    first = candidates.sort("example_id", "label", descending=[False, True], maintain_order=True)
    for line in (score_places("placed", scored(candidates, values), 3, 1), target_places(first)):
        assert line["result"] == "ok"
        assert line["detail"].endswith(
            "told only, for these candidates stand in the order of the data, which may know something"
        )


def test_many_examples_are_looked_at_by_sample(monkeypatch):
    candidates = candidates_of(np.random.default_rng(8), examples=300)
    assert some_examples(candidates, seed=1).equals(candidates)
    monkeypatch.setattr("trsr.experiment.checks.entry.MOST_ROWS", 40 * SIZE)
    drawn = some_examples(candidates, seed=1)
    assert drawn["example_id"].n_unique() == 40
    assert len(drawn) == 40 * SIZE
    assert not some_examples(candidates, seed=2).equals(drawn)
