"""Segments of the test examples; if these fail, a model looks good or bad on people and items it never ranked."""

import numpy as np
import polars as pl
import pytest

from trsr.config import EvaluationConfig
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.segments import measure_segments, segments

CONFIG = EvaluationConfig(ks=[1, 3], resamples=100, rare_below=4)
ITEM_EVENTS, USER_EVENTS, HISTORY = (0, 0, 3, 4, 7, 600), (0, 1, 1, 0, 5, 5), (3, 9, 10, 49, 100, 2000)


@pytest.fixture
def measured():
    """Six examples of four users; the model is right for the first three."""
    users = ["u0", "u0", "u1", "u2", "u3", "u3"]
    rows = [
        (f"e{e}", users[e], f"i{i}", int(i == 0), "target" if i == 0 else "uniform") for e in range(6) for i in range(5)
    ]
    columns = ["example_id", "user_id", "item_id", "label", "source"]
    candidates = pl.DataFrame(rows, schema=columns, orient="row")
    right = np.array([float((i == 0) == (e < 3)) for e in range(6) for i in range(5)])
    scores = candidates.select("example_id", "item_id", pl.Series("score", right))
    quantities = pl.DataFrame(
        {
            "example_id": [f"e{e}" for e in range(6)],
            "item_events": ITEM_EVENTS,
            "user_events": USER_EVENTS,
            "history": HISTORY,
        }
    )
    evaluation = evaluate(candidates, {"model": scores}, CONFIG)
    return candidates, scores, quantities, evaluation, measure_segments(evaluation, quantities, CONFIG)


def test_every_group_parts_the_examples(measured):
    found = measured[-1]
    for group in ("item", "popularity", "user", "history"):
        assert sum(entry["examples"] for entry in found.values() if entry["group"] == group) == 6
    counts = {name: (entry["examples"], entry["users"]) for name, entry in found.items()}
    assert counts == {
        "item/new": (2, 1),
        "item/rare": (1, 1),
        "item/known": (3, 2),
        "popularity/0": (2, 1),
        "popularity/1-4": (2, 2),
        "popularity/5-19": (1, 1),
        "popularity/500+": (1, 1),
        "user/new": (2, 2),
        "user/known": (4, 3),
        "history/1-4": (1, 1),
        "history/5-9": (1, 1),
        "history/10-19": (1, 1),
        "history/20-49": (1, 1),
        "history/100+": (2, 1),
    }


def test_bounds_of_a_group_follow_each_other_without_a_gap():
    by_group: dict[str, list] = {}
    for segment in segments(CONFIG):
        by_group.setdefault(segment.group, []).append(segment)
    for group, parts in by_group.items():
        assert [part.high + 1 for part in parts[:-1]] == [part.low for part in parts[1:]]
        assert parts[-1].high is None
        assert parts[0].low == (1 if group == "history" else 0)


def test_a_segment_is_measured_as_if_it_were_all_there_is(measured):
    candidates, scores, quantities, _, found = measured
    for name, inside in (("item/new", quantities["item_events"] == 0), ("user/known", quantities["user_events"] > 0)):
        ids = quantities["example_id"].filter(inside).implode()
        part = candidates.filter(pl.col("example_id").is_in(ids))
        alone = evaluate(part, {"model": scores.filter(pl.col("example_id").is_in(ids))}, CONFIG)
        assert found[name]["metrics"] == alone.metrics


def test_means_of_segments_add_up_to_the_mean_where_every_user_has_one_example(measured):
    candidates, scores, quantities, _, _ = measured
    own = candidates.with_columns(user_id=pl.col("example_id"))
    evaluation = evaluate(own, {"model": scores}, CONFIG)
    found = measure_segments(evaluation, quantities, CONFIG)
    for group in ("item", "popularity", "user", "history"):
        parts = [entry for entry in found.values() if entry["group"] == group]
        for model, metrics in evaluation.metrics.items():
            for metric, whole in metrics.items():
                total = sum(part["examples"] * part["metrics"][model][metric]["mean"] for part in parts)
                assert total / 6 == pytest.approx(whole["mean"])


def test_rare_is_what_the_settings_say(measured):
    candidates, scores, quantities, _, _ = measured
    config = EvaluationConfig(ks=[1], resamples=100, rare_below=5)
    found = measure_segments(evaluate(candidates, {"m": scores}, config), quantities, config)
    assert (found["item/rare"]["high"], found["item/rare"]["examples"], found["item/known"]["examples"]) == (4, 2, 2)
