"""An experiment of baselines alone: what it keeps, and what it does not do again."""

import json

import polars as pl
import pytest

from baselines.small_world import world_config, write_world
from trsr.baselines import registry
from trsr.errors import ConfigError, DataError
from trsr.experiment import baselines
from trsr.experiment.run import run_experiment

NAMES = ["popularity", "recent_popularity", "item_knn"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    write_world(folder / "world")
    run_experiment(config(folder), folder / "run")
    return folder


def config(world, **changes):
    return world_config(world / "world", **{"baselines": NAMES, **changes})


def read(run, name):
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_every_baseline_is_scored_beside_chance_without_any_llm(world):
    run = world / "run"
    assert set(read(run, "metrics.json")) == {"chance", *NAMES}
    assert read(run, "metrics.json")["item_knn"]["recall@3/u9"]["mean"] > 0.6
    assert set(read(run, "manifest.json")["fingerprints"]) == {"data", "templates"}
    assert {path.name for path in run.iterdir()} >= {"report.html", "checks.json", "config.yaml", "per_user.parquet"}
    assert not {path.name for path in run.iterdir()} & {"summaries.sqlite", "adapter", "training"}
    pairs = pl.read_parquet(run / "candidates.parquet").select("example_id", "item_id")
    for name in NAMES:
        scores = pl.read_parquet(run / "scores" / f"{name}.parquet")
        assert scores.select("example_id", "item_id").equals(pairs)
        assert scores.schema["score"] == pl.Float32


def test_every_setting_tried_is_on_record_with_its_value_and_its_seconds(world):
    run = world / "run"
    for name in NAMES:
        record = read(run, f"baselines/{name}.json")
        assert len(record["tried"]) == len(registry.FAMILIES[name].grid)
        best = max(record["tried"], key=lambda entry: entry["valid_recall"])
        assert record["tried"][record["chosen"]] == best
        assert (record["settings"], record["valid_recall"]) == (best["settings"], best["valid_recall"])
        assert {f"tune {name}", f"score {name}"} <= set(read(run, "manifest.json")["seconds"])


def test_a_finished_baseline_is_not_fitted_again_and_a_chosen_one_not_chosen_again(world, monkeypatch):
    run, fitted = world / "run", []
    path = run / "scores" / "item_knn.parquet"
    before = path.read_bytes()
    path.unlink()

    def watch(name, data, folder, seed):
        fitted.append(name)
        return tuned(name, data, folder, seed)

    tuned = baselines.tuned_baseline
    monkeypatch.setattr("trsr.experiment.run.tuned_baseline", watch)
    monkeypatch.setattr(baselines, "choose", lambda *_: pytest.fail("the settings were chosen already"))
    run_experiment(config(world), run)
    assert fitted == ["item_knn"]
    assert path.read_bytes() == before


def test_a_damaged_record_of_a_choice_is_named(world, tmp_path):
    run_experiment(config(world), tmp_path / "run")
    (tmp_path / "run" / "scores" / "item_knn.parquet").unlink()
    record = tmp_path / "run" / "baselines" / "item_knn.json"
    for content in ("{", "[]", '{"settings": {"neighbours": 3}}'):
        record.write_text(content, encoding="utf-8")
        with pytest.raises(
            DataError, match=r"item_knn\.json: not the record of a choice that is made today; delete it and run again"
        ):
            run_experiment(config(world), tmp_path / "run")


def test_settings_that_make_no_experiment_are_refused_in_one_sentence(world):
    for changes, sentence in (
        ({"baselines": []}, "methods and baselines are both empty; name at least one model"),
        ({"baselines": ["als", "als"]}, "baselines names one twice; keep one of them"),
    ):
        with pytest.raises(ConfigError, match=f"^test: {sentence}$"):
            config(world, **changes)
    with pytest.raises(ConfigError, match=r"^test: baselines.0: .*'popularity', 'recent_popularity', 'bm25'"):
        config(world, baselines=["magic"])
    with pytest.raises(ConfigError, match=r"^test: baselines.0: bert4rec runs in an environment of its own, with RecT"):
        config(world, baselines=["bert4rec"])


def test_a_run_says_with_what_code_and_on_what_machine_it_was_begun_and_continued(world, tmp_path, monkeypatch):
    for commit, machine in (("a", "x"), ("b", "x"), ("b", "y"), (None, "y"), ("a", "x")):
        monkeypatch.setattr("trsr.experiment.recording.source_commit", lambda commit=commit: commit)
        monkeypatch.setattr("trsr.experiment.recording.describe_machine", lambda device=machine: {"device": device})
        run = run_experiment(config(world, baselines=["popularity"]), tmp_path / "run")
    manifest = read(run, "manifest.json")
    assert (manifest["commit"], manifest["continued_at"]) == ("a", ["b"])
    assert (manifest["machine"], manifest["continued_on"]) == ({"device": "x"}, [{"device": "y"}])


def test_scores_of_a_peer_in_another_environment_are_measured_beside_the_others(world, tmp_path):
    run = run_experiment(config(world), tmp_path / "run")
    mine = pl.read_parquet(run / "candidates.parquet").select("example_id", "item_id", score="label")
    mine.cast({"score": pl.Float32}).sample(fraction=1, shuffle=True, seed=1).write_parquet(
        run / "scores" / "peer.parquet"
    )
    run_experiment(config(world), run)
    assert read(run, "metrics.json")["peer"]["recall@3/u9"]["mean"] == 1
    assert ("item_knn", "peer") in {(one["model"], one["against"]) for one in read(run, "comparisons.json")}
    assert ">peer<" in (run / "report.html").read_text(encoding="utf-8")
    assert any(line["check"] == "shuffled labels give chance (peer)" for line in read(run, "checks.json"))
    mine.head(5).write_parquet(run / "scores" / "peer.parquet")
    with pytest.raises(DataError, match=r"scores of peer: no score for a candidate"):
        run_experiment(config(world), run)


def test_a_lacking_package_stops_the_run_before_it_begins(world, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"item_knn needs scipy: pip install 'trsr\[baselines\]'$"):
        run_experiment(config(world), tmp_path / "run")
    assert not (tmp_path / "run").exists()
