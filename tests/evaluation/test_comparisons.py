"""What a user would lose: the wrong opponent, examples taken for users, or a sentence that says more than the test."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from trsr.config import EvaluationConfig
from trsr.errors import ConfigError
from trsr.evaluation.comparisons import Comparison, compare_run, compare_with, family, first_metric, p_text, sentence
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.paired import holm

CONFIG = EvaluationConfig(ks=[1, 3], resamples=200)


def make_candidates(users, examples=1, negatives=4):
    return pl.DataFrame(
        [
            (f"u{user}@{example}", f"u{user:03}", f"i{item}", int(item == 0), "target" if item == 0 else "uniform")
            for user in range(users)
            for example in range(examples)
            for item in range(negatives + 1)
        ],
        schema=["example_id", "user_id", "item_id", "label", "source"],
        orient="row",
    )


def scores_of(candidates, better, noise, seed):
    """Noise, and `better` more for the target; the same for every example of a user."""
    users = candidates["user_id"].n_unique()
    rows = candidates["item_id"].n_unique()
    drawn = np.random.default_rng(seed).normal(size=(users, rows)) * noise
    frame = candidates.with_columns(
        user=pl.col("user_id").rank("dense") - 1, item=pl.col("item_id").str.slice(1).cast(pl.Int64)
    )
    values = [drawn[user, item] + better * (item == 0) for user, item in frame.select("user", "item").iter_rows()]
    return candidates.select("example_id", "item_id", score=pl.Series(values))


def of_all(candidates, models):
    scores = {name: scores_of(candidates, better, 1, seed) for seed, (name, better) in enumerate(models.items())}
    return evaluate(candidates, scores, CONFIG)


def compare_all(evaluation, **options):
    return compare_run(evaluation.metrics, evaluation.per_user, CONFIG, **options)


RUN = {"oracle": 9, "popularity": 0.8, "bm25": 0.2, "trsr-none": 0.7, "trsr-recurrent": 2.0, "untuned": 0}


def test_a_run_compares_its_tuned_rankers_with_the_best_baseline_and_with_no_summary():
    found = compare_all(of_all(make_candidates(60), RUN))
    pairs = [(one.model, one.against) for one in found if one.metric == "recall@1/u4"]
    assert pairs == [
        ("trsr-none", "popularity"),
        ("trsr-recurrent", "popularity"),
        ("trsr-recurrent", "trsr-none"),
    ]
    assert len(found) == 3 * 9
    assert {one.users for one in found} == {60}


def test_no_two_models_are_compared_twice_and_the_whole_history_is_an_opponent():
    models = RUN | {"trsr-recent": 0.9, "trsr-context": 1.1, "mix": 1.0}
    found = compare_all(of_all(make_candidates(60), models), mixes=["mix"])
    pairs = [(one.model, one.against) for one in found if one.metric == "recall@1/u4"]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 4 * 2 + 3 + 2 + 1
    assert {against for model, against in pairs if model == "trsr-recurrent"} == {
        "popularity", "mix", "trsr-none", "trsr-recent", "trsr-context"
    }  # fmt: skip
    assert {("trsr-recent", "trsr-none"), ("trsr-context", "trsr-recent"), ("trsr-context", "trsr-none")} < set(pairs)


def test_baselines_and_their_mix_are_compared_once():
    found = compare_all(of_all(make_candidates(60), {"popularity": 0.2, "bm25": 0.9, "mix": 2}), mixes=["mix"])
    pairs = {frozenset((one.model, one.against)) for one in found if one.metric == "recall@1/u4"}
    assert len([one for one in found if one.metric == "recall@1/u4"]) == len(pairs) == 3


def test_the_best_baseline_is_that_of_each_metric():
    candidates = make_candidates(1, negatives=4)
    first = candidates.select("example_id", "item_id", score=pl.Series([3.0, 4, 2, 1, 0]))  # the target second
    tied = candidates.select("example_id", "item_id", score=pl.Series([1.0, 1, 0, 0, 0]))  # first, half the time
    evaluation = evaluate(candidates, {"a": first, "b": tied, "trsr-none": first}, CONFIG)
    against = {one.metric: one.against for one in compare_all(evaluation)}
    assert (against["recall@1/u4"], against["recall@3/u4"]) == ("b", "a")


def test_a_run_that_tunes_nothing_compares_its_baselines():
    found = compare_all(of_all(make_candidates(60), {"oracle": 9, "popularity": 0.2, "bm25": 0.9, "sasrec": 2}))
    pairs = {(one.model, one.against) for one in found if one.metric == "recall@1/u4"}
    assert pairs == {("popularity", "sasrec"), ("bm25", "sasrec")}


@pytest.mark.parametrize("models", [["popularity"], ["trsr-none"], []])
def test_without_an_opponent_there_is_no_comparison(models):
    assert compare_all(of_all(make_candidates(6), dict.fromkeys(models, 1))) == []


def test_a_real_difference_is_found_and_an_equal_ranker_is_not():
    candidates = make_candidates(150)
    found = compare_with(of_all(candidates, {"a": 0.5, "b": 1.5, "c": 0.5}), "a", CONFIG)
    assert all(one.shown and one.low > 0 for one in found if one.model == "b" and one.metric.startswith("mrr"))
    assert not any(one.shown for one in found if one.model == "c")


def test_the_numbers_are_those_of_the_users():
    evaluation = of_all(make_candidates(40), {"a": 0.5, "b": 1.2})
    users = {
        model: evaluation.per_user.filter(pl.col("model") == model)["ndcg@3/u4"].to_numpy() for model in ("a", "b")
    }
    found = next(one for one in compare_with(evaluation, "a", CONFIG) if one.metric == "ndcg@3/u4")
    apart = users["b"] - users["a"]
    assert found.difference == pytest.approx(apart.mean())
    means = {model: evaluation.metrics[model]["ndcg@3/u4"]["mean"] for model in ("a", "b")}
    assert found.difference == pytest.approx(means["b"] - means["a"])
    assert found.p == pytest.approx(stats.permutation_test(
        (apart,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, rng=1
    ).pvalue, abs=0.025)  # fmt: skip
    reach = (stats.t.ppf(0.975, 39) + stats.t.ppf(0.8, 39)) * apart.std(ddof=1) / np.sqrt(40)
    assert found.smallest_detectable == pytest.approx(reach, rel=1e-4)
    interval = stats.bootstrap((apart,), np.mean, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=0.04)


def test_the_order_of_the_two_only_turns_the_sign():
    evaluation = of_all(make_candidates(40), {"a": 0.5, "b": 1.2})
    one, other = compare_with(evaluation, "a", CONFIG), compare_with(evaluation, "b", CONFIG)
    for mine, turned in zip(one, other, strict=True):
        assert (turned.model, turned.against) == (mine.against, mine.model)
        assert (turned.difference, turned.p, turned.p_holm) == (-mine.difference, mine.p, mine.p_holm)
        assert (turned.low, turned.high) == pytest.approx((-mine.high, -mine.low))


def test_more_examples_of_the_same_users_are_no_more_users():
    few = compare_with(of_all(make_candidates(30), {"a": 0.5, "b": 1.0}), "a", CONFIG)
    many = compare_with(of_all(make_candidates(30, examples=5), {"a": 0.5, "b": 1.0}), "a", CONFIG)
    assert [vars(one) for one in many] == [pytest.approx(vars(one)) for one in few]
    assert many[0].users == 30


def test_a_user_with_many_examples_weighs_as_much_as_another():
    candidates = make_candidates(8).filter(pl.col("user_id") != "u000")
    crowd = make_candidates(1, examples=50).with_columns(example_id="x" + pl.col("example_id"))
    frame = pl.concat([candidates, crowd])
    good = frame.select("example_id", "item_id", score=pl.col("label"))
    bad = good.with_columns(score=pl.when(pl.col("example_id").str.starts_with("x")).then("score").otherwise(0))
    found = compare_with(evaluate(frame, {"bad": bad, "good": good}, CONFIG), "bad", CONFIG)
    recall = next(one for one in found if one.metric == "recall@1/u4")
    assert recall.difference == pytest.approx(7 / 8 * 0.8)
    assert recall.p == 2 / 2**7


def test_a_family_is_one_kind_of_metric_at_every_cut_off_and_for_every_pair():
    found = compare_all(of_all(make_candidates(60), RUN))
    assert {family(one.metric) for one in found} == {"recall", "mrr", "ndcg", "hit", "auc"}
    for name, size in (("recall", 6), ("auc", 3)):
        members = [one for one in found if family(one.metric) == name]
        assert len(members) == size
        assert [one.p_holm for one in members] == holm([one.p for one in members])
    assert any(one.p_holm > one.p for one in found)


def test_a_model_that_is_not_there_is_named():
    evaluation = of_all(make_candidates(6), {"a": 1, "b": 0})
    with pytest.raises(ConfigError, match=r'no model "c" to compare with; there are chance, a, b$'):
        compare_with(evaluation, "c", CONFIG)
    assert {one.model for one in compare_with(evaluation, "chance", CONFIG)} == {"a", "b"}


AHEAD = Comparison("recall@3/u20", "trsr-recurrent", "popularity", 0.11, 0.02, 0.2, 0.005, 0.03, 0.12, 80)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {},
            "trsr-recurrent is ahead of popularity by .110 [.020, .200] in recall@3/u20, p = .030 after Holm; "
            "a single test of 80 users could have seen .120",
        ),
        (
            {"difference": -0.11, "low": -0.2, "high": 0.0, "p_holm": 0.0001, "users": 1000},
            "trsr-recurrent is behind popularity by .110 [.000, .200] in recall@3/u20, p < .001 after Holm; "
            "a single test of 1,000 users could have seen .120",
        ),
        (
            {"p_holm": 0.0502},
            "trsr-recurrent cannot be told from popularity: .110 [.020, .200] in recall@3/u20, p = .0502 after Holm; "
            "a single test of 80 users could have seen .120",
        ),
        (
            {"difference": -0.01, "low": -0.2, "high": 0.1, "p_holm": 1.0, "smallest_detectable": None, "users": 1},
            "trsr-recurrent cannot be told from popularity: -.010 [-.200, .100] in recall@3/u20, "
            "p = 1.000 after Holm; a single test of 1 user cannot show any difference",
        ),
        (
            {"difference": 0.0, "low": 0.0, "high": 0.0, "p_holm": 1.0, "smallest_detectable": None},
            "trsr-recurrent cannot be told from popularity: .000 [.000, .000] in recall@3/u20, p = 1.000 after Holm; "
            "in a single test of 80 users all had the same difference",
        ),
    ],
)
def test_a_comparison_in_plain_words(change, words):
    assert sentence(replace(AHEAD, **change)) == words


def test_rounding_does_not_carry_p_over_the_level():
    assert [p_text(p) for p in (0.05, 0.04996, 0.0504, 0.0506, 0.00099)] == [
        "p = .050", "p = .050", "p = .0504", "p = .051", "p < .001"
    ]  # fmt: skip


def test_what_is_shown_first_is_the_first_metric_not_the_best_looking():
    found = [replace(AHEAD, metric=name, p_holm=p) for name, p in (("recall@3", 0.9), ("mrr@3", 0.01))]
    assert first_metric(found) == found[:1]
    assert first_metric([]) == []
