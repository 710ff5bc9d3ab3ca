import numpy as np
import polars as pl
import pytest

from trsr.config import EvaluationConfig
from trsr.errors import DataError
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.protocol import describe_protocol, negative_protocol

CONFIG = EvaluationConfig(ks=[3, 1], resamples=100)


def make_candidates(examples=6, negatives=4, source="uniform"):
    """Two examples per user, the target always first."""
    return pl.DataFrame(
        [
            (f"e{e}", f"u{e // 2}", f"i{i}", int(i == 0), "target" if i == 0 else source)
            for e in range(examples)
            for i in range(negatives + 1)
        ],
        schema=["example_id", "user_id", "item_id", "label", "source"],
        orient="row",
    )


def make_scores(candidates, values=None):
    values = np.zeros(len(candidates)) if values is None else values
    return candidates.select("example_id", "item_id", pl.Series("score", values, dtype=pl.Float32))


@pytest.fixture
def candidates():
    return make_candidates()


def test_chance_is_always_there_and_a_constant_model_equals_it(candidates):
    result = evaluate(candidates, {"constant": make_scores(candidates)}, CONFIG)
    assert list(result.metrics) == ["chance", "constant"]
    assert result.metrics["constant"] == result.metrics["chance"]
    assert result.metrics["chance"]["recall@3/u4"]["mean"] == 3 / 5
    assert result.metrics["chance"]["auc/u4"]["mean"] == 0.5


def test_metrics_are_named_by_protocol_and_ordered_by_cut_off(candidates):
    result = evaluate(candidates, {}, CONFIG)
    kinds = [f"{kind}@{k}/u4" for kind in ("recall", "mrr", "ndcg", "hit") for k in (1, 3)]
    assert list(result.metrics["chance"]) == [*kinds, "auc/u4"]
    assert result.protocol == "u4"


def test_scores_in_any_order_reach_their_candidates(candidates):
    scores = make_scores(candidates, candidates["label"].to_numpy()).sample(fraction=1, shuffle=True, seed=1)
    result = evaluate(candidates, {"oracle": scores}, CONFIG)
    assert {values["mean"] for values in result.metrics["oracle"].values()} == {1.0}


def test_users_are_averaged_before_the_mean(candidates):
    values = np.array([[1, 0, 0, 0, 0], [0, 1, 1, 1, 1], *[[1, 0, 0, 0, 0]] * 4])
    result = evaluate(candidates, {"model": make_scores(candidates, values.ravel())}, CONFIG)
    mine = result.per_user.filter(pl.col("model") == "model")
    assert dict(mine.select("user_id", "recall@1/u4").iter_rows()) == {"u0": 0.5, "u1": 1.0, "u2": 1.0}
    assert result.per_user.columns == ["model", "user_id", *result.metrics["model"]]
    assert result.metrics["model"]["recall@1/u4"]["mean"] == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(
    ("sources", "protocol", "words"),
    [
        ([["uniform"] * 2] * 3, "u2", "2 uniform negatives"),
        ([["uniform"], ["uniform"] * 2, ["uniform"] * 5], "u~2", "about 2 uniform negatives"),
        ([["popular", "uniform", "uniform"]] * 2, "u2+p1", "2 uniform and 1 popular negatives"),
        ([["impression"] * 3, ["impression"] * 3 + ["retrieved"]], "i3+r~1", None),
        ([["catalogue"] * 3, ["catalogue"] * 2], "full", "all other items of the catalogue"),
        ([["catalogue", "uniform"]] * 2, "u1+full", None),
        ([["hard", "mined", "uniform"]] * 2, "u1+x2", "1 uniform and 2 other negatives"),
        ([["hard"], [None] * 3], "x~3", "about 3 other negatives"),
        ([[], []], "", None),
    ],
)
def test_protocol_says_what_a_target_was_ranked_against(sources, protocol, words):
    rows = [
        (f"e{e}", label, source)
        for e, negatives in enumerate(sources)
        for label, source in [(1, "impression"), *((0, s) for s in negatives)]
    ]
    frame = pl.DataFrame(rows, schema=["example_id", "label", "source"], orient="row")
    assert negative_protocol(frame) == protocol
    if words:
        assert describe_protocol(protocol) == words


def test_a_protocol_that_is_not_ours_is_shown_as_it_is():
    assert describe_protocol("leave-one-out") == "leave-one-out"


REFUSALS = {
    "missing": (
        lambda s: s.slice(2),
        "scores of mine: no score for a candidate in example e0, item i0 (2 such rows); "
        "score every row of the candidates file",
    ),
    "extra": (
        lambda s: pl.concat(
            [s, pl.DataFrame({"example_id": ["e9"], "item_id": ["i9"], "score": [1.0]}, schema=s.schema)]
        ),
        "scores of mine: a score for what is no candidate in example e9, item i9 (1 such row); "
        "score the rows of this candidates file only",
    ),
    "duplicate": (
        lambda s: pl.concat([s, s.slice(3, 1)]),
        "scores of mine: a second score for the same candidate in example e0, item i3 (1 such row); "
        "keep one score per example and item",
    ),
    "nan": (
        lambda s: s.with_columns(
            pl.when(pl.col("item_id") == "i1").then(float("nan")).otherwise("score").alias("score")
        ),
        "scores of mine: a score that is missing, NaN or infinite in example e0, item i1 (6 such rows); "
        "give every candidate a finite number",
    ),
    "infinite": (
        lambda s: s.with_columns(
            pl.when(pl.col("item_id") == "i2").then(-float("inf")).otherwise("score").alias("score")
        ),
        "scores of mine: a score that is missing, NaN or infinite in example e0, item i2 (6 such rows); "
        "give every candidate a finite number",
    ),
    "null": (
        lambda s: s.with_columns(pl.when(pl.col("example_id") != "e5").then("score").alias("score")),
        "scores of mine: a score that is missing, NaN or infinite in example e5, item i0 (5 such rows); "
        "give every candidate a finite number",
    ),
    "column": (
        lambda s: s.rename({"score": "logit"}),
        "scores of mine: no column score (found example_id, item_id, logit); "
        "write the columns example_id, item_id and score",
    ),
    "id type": (
        lambda s: s.with_columns(pl.col("item_id").str.slice(1).cast(pl.Int64)),
        "scores of mine: column item_id is Int64 but String in the candidates; "
        "copy the ids from the candidates file as they are",
    ),
    "score type": (
        lambda s: s.with_columns(pl.lit("high").alias("score")),
        "scores of mine: column score is String; write numbers",
    ),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_scores_that_do_not_fit_the_candidates_are_refused_in_one_sentence(candidates, fault):
    spoil, sentence = REFUSALS[fault]
    with pytest.raises(DataError) as refusal:
        evaluate(candidates, {"mine": spoil(make_scores(candidates))}, CONFIG)
    assert str(refusal.value) == sentence


def test_an_id_that_would_break_the_line_is_quoted(candidates):
    broken = candidates.with_columns(item_id=pl.lit("i\n") + pl.col("item_id"))
    with pytest.raises(DataError) as refusal:
        evaluate(broken, {"mine": make_scores(candidates).with_columns(pl.col("item_id") + "\x1b[2J")}, CONFIG)
    assert str(refusal.value).startswith(
        r"scores of mine: no score for a candidate in example e0, item 'i\ni0' (30 such"
    )
    with pytest.raises(DataError, match=r"no column score \(found example_id, item_id, 'a\\tb'\);"):
        evaluate(candidates, {"mine": make_scores(candidates).rename({"score": "a\tb"})}, CONFIG)


def test_the_name_chance_is_kept(candidates):
    with pytest.raises(DataError, match=r"^scores of chance: this name is kept for the constant scorer"):
        evaluate(candidates, {"chance": make_scores(candidates)}, CONFIG)


@pytest.mark.parametrize(("label", "kind"), [(0, "positive"), (1, "negative")])
def test_examples_without_anything_to_rank_are_refused(candidates, label, kind):
    flat = candidates.with_columns(
        pl.when(pl.col("example_id") == "e4").then(label).otherwise("label").cast(pl.Int64).alias("label")
    )
    with pytest.raises(DataError, match=rf"^candidates: example e4 has no {kind} candidate \(1 such example\)"):
        evaluate(flat, {}, CONFIG)


def test_no_candidates_at_all_are_refused(candidates):
    with pytest.raises(DataError, match=r"^candidates: no rows"):
        evaluate(candidates.clear(), {}, CONFIG)
