"""What a user of `trsr evaluate` would lose: chance that is not chance, and a comparison nobody can use."""

import json

import numpy as np
import polars as pl
import pytest

USERS, NEGATIVES = 30, 20


@pytest.fixture
def candidates(tmp_path):
    rng = np.random.default_rng(1)
    rows = []
    for user in range(USERS):
        target = rng.integers(NEGATIVES + 1)
        rows += [(f"u{user}@9", f"u{user}", f"i{item}", int(item == target), "target") for item in range(NEGATIVES + 1)]
    frame = pl.DataFrame(rows, schema=["example_id", "user_id", "item_id", "label", "source"], orient="row")
    frame = frame.with_columns(source=pl.when(pl.col("label") == 1).then("source").otherwise(pl.lit("uniform")))
    frame.write_parquet(tmp_path / "candidates.parquet")
    return frame


@pytest.fixture
def scored(candidates, tmp_path):
    """Writes the scores of a model that sees `better` of the target, and gives the path."""

    def write(name, better, seed=0):
        noise = np.random.default_rng(seed).normal(size=len(candidates))
        path = tmp_path / f"{name}.parquet"
        candidates.select("example_id", "item_id", score=noise + better * candidates["label"].to_numpy()).write_parquet(
            path
        )
        return path

    return write


@pytest.mark.parametrize("score", [0, 7, -3.5, 1e308, -5e-324, 0.1])
def test_constant_scores_are_exactly_chance(trsr, candidates, tmp_path, score):
    path = tmp_path / "constant.parquet"
    candidates.select("example_id", "item_id", score=pl.lit(score)).write_parquet(path)
    outcome = trsr("evaluate", tmp_path / "candidates.parquet", path, "--against", "chance", "--json")
    printed = json.loads(outcome.out)
    assert printed["constant"] == printed["chance"]
    for k in (3, 5, 10):
        for kind, value in (("recall", k / 21), ("mrr", sum(1 / r for r in range(1, k + 1)) / 21)):
            interval = printed["constant"][f"{kind}@{k}/u20"]
            assert list(interval.values()) == pytest.approx([value] * 3, abs=1e-15)
    assert printed["constant"]["auc/u20"]["mean"] == 0.5
    assert len(printed["comparisons"]) == 13
    for comparison in printed["comparisons"]:
        assert [comparison[key] for key in ("difference", "low", "high", "p", "p_holm")] == [0, 0, 0, 1, 1]
        assert comparison["smallest_detectable"] is None


def test_models_are_compared_with_the_first_file_or_the_one_that_is_named(trsr, scored, tmp_path):
    files = [scored("old", 0.5), scored("new", 4, seed=1), scored("other", 0.5, seed=2)]
    printed = json.loads(trsr("evaluate", tmp_path / "candidates.parquet", *files, "--json").out)
    assert list(printed) == ["chance", "old", "new", "other", "comparisons"]
    assert {(one["model"], one["against"]) for one in printed["comparisons"]} == {("new", "old"), ("other", "old")}
    assert list(printed["comparisons"][0]) == [
        *("metric", "model", "against", "difference", "low", "high", "p", "p_holm", "smallest_detectable", "users")
    ]
    named = json.loads(trsr("evaluate", tmp_path / "candidates.parquet", *files, "--against", "new", "--json").out)
    assert {one["against"] for one in named["comparisons"]} == {"new"}
    assert {key: named[key] for key in printed if key != "comparisons"} == {
        key: printed[key] for key in printed if key != "comparisons"
    }


def test_each_comparison_is_one_sentence(trsr, scored, tmp_path):
    files = [scored("old", 0.5), scored("new", 4, seed=1), scored("other", 0.5, seed=2)]
    told = [
        line for line in trsr("evaluate", tmp_path / "candidates.parquet", *files).out.splitlines() if "Holm" in line
    ]
    assert len(told) == 2
    assert told[0].startswith("new is ahead of old by .")
    assert "in recall@3/u20, p < .001 after Holm; a single test of 30 users could have seen ." in told[0]
    assert told[1].startswith("other cannot be told from old: ")
    every = trsr("evaluate", tmp_path / "candidates.parquet", *files, "--full").out
    assert every.count(" after Holm; ") == 2 * 13


def test_one_file_has_nothing_to_be_compared_with(trsr, scored, tmp_path):
    file = scored("old", 0.5)
    assert json.loads(trsr("evaluate", tmp_path / "candidates.parquet", file, "--json").out)["comparisons"] == []
    assert "Holm" not in trsr("evaluate", tmp_path / "candidates.parquet", file).out


def test_wrong_names_are_refused(trsr, scored, tmp_path):
    outcome = trsr("evaluate", tmp_path / "candidates.parquet", scored("old", 1), "--against", "nobody")
    assert (outcome.code, outcome.complaint) == (
        2,
        'evaluate: no model "nobody" to compare with; there are chance, old',
    )
    outcome = trsr("evaluate", tmp_path / "candidates.parquet", scored("comparisons", 1))
    assert (outcome.code, outcome.complaint) == (
        2,
        "evaluate: comparisons names a part of what is printed; rename that scores file",
    )


def test_a_cut_off_scores_file_ends_with_3_and_one_sentence(trsr, scored, tmp_path):
    path = scored("old", 1)
    path.write_bytes(path.read_bytes()[:-20])
    outcome = trsr("evaluate", tmp_path / "candidates.parquet", path)
    assert outcome.code == 3
    assert outcome.complaint == f"{path}: the Parquet file is truncated or damaged; copy or write it again"
