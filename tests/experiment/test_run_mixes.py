"""Rankers that read more recent items, popularity in the prompt, and mixes of models: a run with all of them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from experiment.tiny_shop import NEGATIVES, config_of, make_base, make_shop, settings
from trsr.config import ExperimentConfig, parse_settings
from trsr.data.popularity import popularity_levels
from trsr.errors import ConfigError, DataError
from trsr.experiment import mixing
from trsr.experiment.run import run_experiment
from trsr.experiment.serving import RankerPlace, score_file
from trsr.experiment.tasks import make_tasks
from trsr.ranking.export import export_cross_encoder, export_merged
from trsr.ranking.ranker import Ranker

MIXES = {"trsr-mix": ["trsr-recent", "popularity", "untuned"], "mix": ["popularity", "item_knn"]}
CHANGES = {
    "methods": ["none", "recent", "context", "extractive"],
    "baselines": ["popularity", "item_knn"],
    "mixes": MIXES,
    "prompt": {"popularity_levels": 3},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixes")
    make_base(folder / "base")
    make_shop(folder / "shop")
    run_experiment(config(folder), folder / "run")
    return folder


def config(world, **changes):
    return config_of(world / "base", world / "shop", **{**CHANGES, **changes})


def with_mixes(world, mixes):
    return parse_settings(
        ExperimentConfig, settings(world / "base", world / "shop", **CHANGES) | {"mixes": mixes}, "test"
    )


def read(run, name):
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_the_rankers_without_summary_read_what_their_method_says(world):
    scoring = read(world / "run", "manifest.json")["scoring"]
    tokens = {name: counts["prefix_tokens"] for name, counts in scoring.items()}
    assert tokens["trsr-none"] < tokens["trsr-recent"] <= tokens["trsr-context"]
    assert scoring["trsr-context"]["recent_items_dropped"] == 0
    recorded = {name: read(world / "run", f"adapter/trsr-{name}/trsr.json") for name in ("none", "recent", "context")}
    assert {name: entry["prompt"]["recent"] for name, entry in recorded.items()} == {
        "none": "items",
        "recent": "budget",
        "context": "context",
    }
    assert {entry["summary_method"] for entry in recorded.values()} == {"none"}
    assert pl.read_parquet(world / "run" / "summaries.parquet")["method"].unique().to_list() == ["extractive"]


def test_a_mix_is_the_weighted_sum_of_its_models_and_is_judged_as_they_are(world):
    run = world / "run"
    metrics = read(run, "metrics.json")
    assert set(MIXES) <= set(metrics)
    for name, models in MIXES.items():
        weights = read(run, f"mixes/{name}.json")["weights"]
        assert list(weights) == models
        total = np.zeros(pl.read_parquet(run / "candidates.parquet").height)
        for model, weight in weights.items():
            scores = pl.read_parquet(run / "scores" / f"{model}.parquet")["score"].to_numpy().astype(float)
            grid = scores.reshape(-1, NEGATIVES + 1)
            spread = grid.std(axis=1, keepdims=True)
            centred = grid - grid.mean(axis=1, keepdims=True)
            total += weight * np.divide(centred, spread, out=np.zeros_like(grid), where=spread > 0).ravel()
        mixed = pl.read_parquet(run / "scores" / f"{name}.parquet")["score"].to_numpy()
        np.testing.assert_allclose(mixed, total, atol=1e-3)


def test_a_mix_with_a_ranker_is_compared_with_single_baselines_with_their_mix_and_with_recent_items(world):
    pairs = {(entry["model"], entry["against"]) for entry in read(world / "run", "comparisons.json")}
    assert {against for model, against in pairs if model == "trsr-mix"} >= {"mix", "trsr-none", "trsr-recent"}
    assert {against for model, against in pairs if model == "trsr-mix"} & {"popularity", "item_knn", "untuned"}
    assert not {model for model, _ in pairs if not model.startswith("trsr-")}


def test_candidates_say_how_popular_they_are(world):
    ranker = Ranker.from_pretrained(world / "run" / "adapter" / "trsr-none")
    made = make_tasks(config(world))
    assert ranker.popularity == popularity_levels(made.examples.fit_events, 3)
    rows = {"a": {"title": "A", "subjects": "sea"}, "b": {"title": "B", "subjects": "sea"}}
    prompt = replace(ranker, popularity={"a": 3}).prompts(rows).build("", ["a"], ["a", "b"])
    told = [ranker.chat.tokenizer.decode(list(suffix)) for suffix in prompt.suffixes]
    assert told[0].startswith("Candidate book, popularity 3 of 3: title: A")
    assert told[1].startswith("Candidate book, popularity 1 of 3: title: B")
    assert "popularity" not in ranker.chat.tokenizer.decode(list(prompt.prefix))
    with pytest.raises(ConfigError, match="rank: this ranker tells how popular items are, by their ids; build"):
        ranker.rank([rows["a"]], [rows["b"]])


def test_mixes_are_made_of_the_scores_that_are_there_and_a_missing_part_is_scored_again(world, monkeypatch):
    run = world / "run"
    before = (run / "scores" / "mix.parquet").read_bytes()
    (run / "valid_scores" / "item_knn.parquet").unlink()
    monkeypatch.setattr(Ranker, "score", lambda *_: pytest.fail("a ranker was asked"))
    run_experiment(config(world), run)
    assert (run / "scores" / "mix.parquet").read_bytes() == before
    path = run / "scores" / "item_knn.parquet"
    kept = path.read_bytes()
    pl.read_parquet(path).with_columns(-pl.col("score")).write_parquet(path)
    run_experiment(config(world), run)
    assert (run / "scores" / "mix.parquet").read_bytes() != before
    path.write_bytes(kept)
    run_experiment(config(world), run)
    assert (run / "scores" / "mix.parquet").read_bytes() == before


def test_scores_by_the_command_are_those_of_the_run_though_popularity_is_told(world, tmp_path):
    run = world / "run"
    place = RankerPlace(run / "adapter" / "trsr-recent")
    out = tmp_path / "scores.parquet"
    examples, candidates = run / "examples.parquet", run / "candidates.parquet"
    score_file(place, world / "shop", candidates, examples=examples, summaries=None, out=out)
    there = pl.read_parquet(run / "scores" / "trsr-recent.parquet")
    np.testing.assert_allclose(pl.read_parquet(out)["score"].to_numpy(), there["score"].to_numpy(), atol=1e-4)


def test_other_candidates_than_the_run_was_made_from_are_refused(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world / "run", run)
    pl.read_parquet(run / "candidates.parquet").reverse().write_parquet(run / "candidates.parquet")
    with pytest.raises(DataError, match=r"candidates\.parquet: this run was made from other candidates than there are"):
        run_experiment(config(world), run)


def test_no_pairs_of_texts_for_a_ranker_that_tells_popularity(world, tmp_path):
    ranker = Ranker.from_pretrained(world / "run" / "adapter" / "trsr-none")
    with pytest.raises(ConfigError, match="tells how popular candidates are, pairs of texts do not; export it merged"):
        export_cross_encoder(ranker, tmp_path / "pairs")
    assert export_merged(ranker, tmp_path / "merged").is_dir()


def test_scores_of_other_candidates_are_named(world):
    run = world / "run"
    path = run / "valid_scores" / "popularity.parquet"
    whole = path.read_bytes()
    pl.read_parquet(path).head(5).write_parquet(path)
    with pytest.raises(DataError, match=r"valid_scores.popularity\.parquet: not the scores of this run's valid"):
        run_experiment(config(world), run)
    path.write_bytes(whole)
    run_experiment(config(world), run)


@pytest.mark.parametrize(
    ("mixes", "sentence"),
    [
        (
            {"mix": ["popularity", "magic"]},
            "mixes.mix: this experiment has no model 'magic', but popularity, item_knn, ",
        ),
        ({"mix": ["popularity"]}, "mixes.mix: name two different models at least, and each once"),
        ({"mix": ["popularity", "popularity"]}, "mixes.mix: name two different models at least, and each once"),
        ({"popularity": ["popularity", "item_knn"]}, "mixes.popularity: a model has this name; give the mix another"),
        (
            {"mix": ["popularity", "trsr-none"]},
            "mixes.mix: where a tuned ranker is in it, its name begins with trsr-",
        ),
        (
            {"trsr-mix": ["popularity", "item_knn"]},
            "mixes.trsr-mix: where a tuned ranker is in it, its name begins with trsr-",
        ),
        ({"../mix": ["popularity", "item_knn"]}, "mixes"),
    ],
)
def test_mixes_that_make_no_sense_are_refused_in_one_sentence(world, mixes, sentence):
    with pytest.raises(ConfigError, match=f"^test: {sentence}"):
        with_mixes(world, mixes)


def test_mixes_need_scipy(monkeypatch):
    monkeypatch.setattr(mixing, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"^mixes need scipy: pip install 'trsr\[baselines\]'$"):
        mixing.check_mixable(MIXES)
    mixing.check_mixable({})
