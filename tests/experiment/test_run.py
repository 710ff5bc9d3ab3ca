"""The run folder: what other programs read from it, and that nothing in it is made twice or by chance."""

import json

import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file

from experiment.tiny_shop import NEGATIVES, TESTS, TRAIN_NEGATIVES, config_of, make_base, make_shop
from trsr.config import DataConfig, ExperimentConfig, load_experiment, parse_settings
from trsr.data.dataset import Dataset
from trsr.errors import ConfigError, DataError
from trsr.experiment import run as run_module
from trsr.experiment.run import run_experiment, train_one
from trsr.llm import backend
from trsr.llm.local import LocalGenerator
from trsr.ranking import training
from trsr.ranking.ranker import Ranker

METHODS = ("none", "hierarchical", "recurrent")
MODELS = {"popularity", "oracle", "untuned", "trsr-none", "trsr-hierarchical", "trsr-recurrent"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    base, shop = make_base(folder / "base"), make_shop(folder / "shop")
    run_experiment(config_of(base, shop), folder / "first")
    return folder


@pytest.fixture
def run(world):
    return world / "first"


def config(world, **changes):
    return config_of(world / "base", world / "shop", **changes)


def table(run, name):
    return pl.read_parquet(run / f"{name}.parquet")


def read(run, name):
    return json.loads((run / name).read_text(encoding="utf-8"))


def files(run):
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def forbid_models(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the model was called")

    for owner, name in (
        (LocalGenerator, "submit"),
        (Ranker, "score"),
        (training._Loop, "_step"),
        (Ranker, "from_base"),
        (Ranker, "from_pretrained"),
        (backend, "load_model"),
    ):
        monkeypatch.setattr(owner, name, refuse)


def test_the_folder_holds_every_file_of_the_contract_and_nothing_pickled(run):
    present = set(files(run))
    wanted = {"config.yaml", "manifest.json", "candidates.parquet", "metrics.json", "per_user.parquet"}
    wanted |= {
        "comparisons.json",
        "summaries.parquet",
        "report.html",
        "examples.parquet",
        "checks.json",
        "stories.json",
    }
    wanted |= {f"scores/{model}.parquet" for model in MODELS}
    wanted |= {
        f"adapter/trsr-{method}/{name}"
        for method in METHODS
        for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md", "trsr.json")
    }
    assert wanted <= present
    assert not [name for name in present if name.endswith((".bin", ".pt", ".pth", ".pkl", ".pickle", ".partial"))]
    suffixes = {name.rpartition(".")[2] for name in present}
    assert suffixes <= {"yaml", "json", "parquet", "html", "sqlite", "safetensors", "jinja", "j2", "md", "lock"}


def test_candidates_are_one_target_and_uniform_negatives_in_the_columns_of_the_contract(run):
    candidates = table(run, "candidates")
    assert dict(candidates.schema) == {
        "example_id": pl.String,
        "user_id": pl.String,
        "item_id": pl.String,
        "label": pl.Int8,
        "source": pl.String,
    }
    sizes = candidates.group_by("example_id").agg(pl.len(), pl.col("label").sum())
    assert sizes.select("len", "label").unique().rows() == [(NEGATIVES + 1, 1)]
    assert len(sizes) == TESTS
    assert candidates.select("label", "source").unique().sort("label").rows() == [(0, "uniform"), (1, "target")]
    learning = table(run, "training_candidates").group_by("example_id").len()
    assert set(learning["len"]) == {TRAIN_NEGATIVES + 1, NEGATIVES + 1}


def test_the_target_stands_in_no_special_place(run):
    for name in ("candidates", "training_candidates"):
        place = pl.int_range(pl.len()).over("example_id").alias("place")
        targets = table(run, name).with_columns(place).filter(pl.col("label") == 1)
        assert targets["place"].n_unique() > 2


def test_every_model_scores_exactly_the_saved_candidates(run):
    pairs = table(run, "candidates").select("example_id", "item_id").sort("example_id", "item_id")
    for model in MODELS:
        scores = table(run, f"scores/{model}")
        assert scores.columns == ["example_id", "item_id", "score"]
        assert scores.schema["score"] == pl.Float32
        assert scores.select("example_id", "item_id").sort("example_id", "item_id").equals(pairs)
        assert scores["score"].is_finite().all()


def test_metrics_have_mean_low_and_high_for_every_model_and_chance_is_k_of_n(run):
    metrics = read(run, "metrics.json")
    assert set(metrics) == {"chance", *MODELS}
    names = {f"{name}@{k}/u{NEGATIVES}" for name in ("recall", "mrr", "ndcg", "hit") for k in (3, 5)}
    for values in metrics.values():
        assert names | {f"auc/u{NEGATIVES}"} == set(values)
        assert all(set(value) == {"mean", "low", "high"} for value in values.values())
        assert all(value["low"] - 1e-12 <= value["mean"] <= value["high"] + 1e-12 for value in values.values())
    n = NEGATIVES + 1
    for k in (3, 5):
        assert metrics["chance"][f"recall@{k}/u{NEGATIVES}"] == {"mean": k / n, "low": k / n, "high": k / n}
        assert metrics["chance"][f"hit@{k}/u{NEGATIVES}"]["mean"] == pytest.approx(k / n, abs=1e-15)
    assert metrics["oracle"][f"recall@3/u{NEGATIVES}"]["mean"] > metrics["chance"][f"recall@3/u{NEGATIVES}"]["mean"]


def test_tuned_rankers_are_compared_with_the_best_baseline_and_with_no_summary(run):
    metrics, found = read(run, "metrics.json"), read(run, "comparisons.json")
    baselines = [model for model in metrics if not model.startswith("trsr-") and model not in ("chance", "oracle")]
    for metric in metrics["chance"]:
        best = max(metrics[model][metric]["mean"] for model in baselines)
        rows = [row for row in found if row["metric"] == metric]
        assert [row["model"] for row in rows if row["against"] in baselines] == sorted(f"trsr-{m}" for m in METHODS)
        assert {row["model"] for row in rows if row["against"] == "trsr-none"} == {
            f"trsr-{method}" for method in METHODS if method != "none"
        }
        for row in rows:
            means = [metrics[row[name]][metric]["mean"] for name in ("model", "against")]
            assert row["difference"] == pytest.approx(means[0] - means[1], abs=1e-9)
            assert row["low"] <= row["difference"] + 1e-12
            assert 0 < row["p"] <= row["p_holm"] <= 1
            assert row["users"] == TESTS
            assert row["against"] == "trsr-none" or means[1] == best


def test_per_user_values_average_to_the_metrics(run):
    per_user, metrics = table(run, "per_user"), read(run, "metrics.json")
    assert per_user.columns[:2] == ["model", "user_id"]
    assert len(per_user) == len(metrics) * TESTS
    for model, values in metrics.items():
        rows = per_user.filter(pl.col("model") == model)
        for name, value in values.items():
            assert rows[name].mean() == pytest.approx(value["mean"], abs=1e-12)


def test_summaries_of_both_methods_cover_every_example_with_blocks_and_steps(run):
    summaries, examples = table(run, "summaries"), table(run, "examples")
    assert summaries.columns == ["example_id", "user_id", "method", "summary", "blocks", "steps", "calls"]
    assert sorted(summaries.rows_by_key(["method"])) == ["hierarchical", "recurrent"]
    cuts = dict(examples.select("example_id", "cut").iter_rows())
    for method in ("hierarchical", "recurrent"):
        rows = summaries.filter(pl.col("method") == method)
        assert set(rows["example_id"]) == set(cuts)
        for row in rows.iter_rows(named=True):
            assert [len(block) for block in row["blocks"]][:-1] == [4] * (len(row["blocks"]) - 1)
            assert sum(len(block) for block in row["blocks"]) == cuts[row["example_id"]]
            assert row["summary"] == row["steps"][-1]
            steps = len(row["blocks"]) + (method == "hierarchical" and len(row["blocks"]) > 1)
            assert len(row["steps"]) == steps
            assert steps <= row["calls"] <= 2 * steps  # a faulty text is tried again once


def test_the_manifest_says_what_the_result_depends_on(run, world):
    manifest = read(run, "manifest.json")
    assert {"name", "seed", "data", "machine", "summaries", "ranker", "scoring", "training", "seconds", "finished"} <= (
        set(manifest)
    )
    dataset = Dataset.from_folder(world / "shop", DataConfig(path=world / "shop", attributes=["title", "subjects"]), 3)
    assert manifest["fingerprints"]["data"] == dataset.fingerprint
    assert manifest["data"]["examples"] == {"train": 12, "valid": 5, "test": TESTS}
    assert {"python", "torch", "transformers", "polars", "device"} <= set(manifest["machine"])
    assert len(manifest["ranker"]["weight_hash"]) == 64
    assert manifest["summaries"]["calls"]["calls"] == table(run, "summaries")["calls"].sum()
    assert {"calls", "tokens_in", "tokens_out"} <= set(manifest["summaries"]["calls"])
    of_methods = manifest["summaries"]["methods"].values()
    assert manifest["summaries"]["calls"] == {
        name: sum(used[name] for used in of_methods) for name in ("calls", "tokens_in", "tokens_out")
    }
    assert set(manifest["scoring"]) == {"untuned", *(f"trsr-{method}" for method in METHODS)}
    for counts in manifest["scoring"].values():
        assert counts["prompts"] == TESTS
        assert counts["candidates"] == TESTS * (NEGATIVES + 1)
        assert counts["items_shortened"] > 0
    assert {name: entry["steps"] for name, entry in manifest["training"].items()} == {
        f"trsr-{method}": 4 for method in METHODS
    }


def test_the_saved_settings_are_resolved_and_give_the_same_experiment(run, world):
    assert load_experiment(run / "config.yaml") == config(world)
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["training"]["lora_r"] == 8


def test_adapter_folders_load_with_peft_and_score_as_the_run_did(run, world):
    settings = read(run, "adapter/trsr-recurrent/trsr.json")
    assert settings["base"]["name"] == str(world / "base")
    assert settings["summary_method"] == "recurrent"
    assert settings["answers"]["yes"]["piece"] == "yes"
    adapters = {method: load_file(run / f"adapter/trsr-{method}/adapter_model.safetensors") for method in METHODS}
    names = {name for adapter in adapters.values() for name in adapter}
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert sum(abs(values).sum() for name, values in adapters["recurrent"].items() if ".lora_B." in name) > 0
    assert any((adapters["none"][name] != adapters["recurrent"][name]).any() for name in names)


def test_a_second_run_calls_no_model_and_changes_no_result(run, world, monkeypatch):
    before = files(run)
    forbid_models(monkeypatch)
    run_experiment(config(world), run)
    after = files(run)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"manifest.json", "report.html"}


def test_two_runs_in_two_folders_are_the_same_to_the_byte(run, world, tmp_path):
    run_experiment(config(world), tmp_path / "second")
    here, there = files(run), files(tmp_path / "second")
    assert set(here) == set(there)
    results = [
        name
        for name in here
        if name.endswith((".parquet", "adapter_model.safetensors")) or name in ("metrics.json", "checks.json")
    ]
    assert len(results) > 12
    assert [name for name in results if here[name] != there[name]] == []


def test_another_seed_is_another_experiment(run, world, tmp_path, monkeypatch):
    def enough(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module._Experiment, "_summaries", enough)  # candidates are written by then
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config(world, seed=4), tmp_path / "other")
    assert not table(tmp_path / "other", "candidates").equals(table(run, "candidates"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "seed: 3 there, 4 asked"),
        ({"training": {"epochs": 2}}, "training.epochs: 1 there, 2 asked"),
        ({"candidates": {"negatives": 5}}, "candidates.negatives: 9 there, 5 asked"),
        ({"methods": ["none"]}, "methods: "),
        ({"data": {"min_history": 3}}, "data.min_history: 4 there, 3 asked"),
    ],
)
def test_a_folder_of_other_settings_is_refused_by_field_and_left_alone(run, world, change, sentence):
    before = files(run)
    with pytest.raises(ConfigError) as error:
        run_experiment(config(world, **change), run)
    assert str(error.value).startswith(f"{run}: holds a run of other settings ({sentence}")
    assert files(run) == before


def test_a_folder_of_other_data_is_refused_and_left_alone(run, world):
    path = world / "shop" / "items.parquet"
    whole, before = path.read_bytes(), files(run)
    items = pl.read_parquet(path)
    try:
        items.with_columns(pl.col("title") + "!").write_parquet(path)
        with pytest.raises(DataError, match=r"made from other data than there are now \(fingerprint ") as error:
            run_experiment(config(world), run)
    finally:
        path.write_bytes(whole)
    assert str(error.value).startswith(f"{run}: ")
    assert files(run) == before


def test_a_relative_data_path_of_the_python_interface_can_be_continued(world, tmp_path, monkeypatch):
    values = config(world, methods=["none"]).model_dump(mode="json")
    values["data"]["path"] = "shop"
    relative = parse_settings(ExperimentConfig, values, "test")
    monkeypatch.chdir(world)
    monkeypatch.setattr(run_module._Experiment, "run", lambda self: self.folder.path)
    assert run_experiment(relative, tmp_path / "run") == run_experiment(relative, tmp_path / "run")


def test_train_one_makes_the_ranker_of_the_run_and_nothing_else(run, world, tmp_path):
    folder, log = train_one(config(world), "hierarchical", tmp_path / "one")
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (run / "adapter/trsr-hierarchical" / weights).read_bytes()
    assert [entry["step"] for entry in log["steps"]] == [1, 2, 3, 4]
    assert not (tmp_path / "one" / "scores").exists()
    with pytest.raises(ConfigError, match='tiny has no method "sideways"; its methods are none, hierarchical'):
        train_one(config(world), "sideways", tmp_path / "one")


def test_a_damaged_file_in_the_folder_is_named(run, world, tmp_path):
    for name in ("manifest.json", "summaries.parquet"):
        folder = tmp_path / name
        folder.mkdir()
        for part in ("config.yaml", "manifest.json", "summaries.parquet"):
            (folder / part).write_bytes((run / part).read_bytes())
        (folder / name).write_bytes((run / name).read_bytes()[:100])
        with pytest.raises(DataError) as error:
            run_experiment(config(world), folder)
        assert str(error.value).startswith(f"{folder / name}: ")
        assert "\n" not in str(error.value)


def test_the_story_is_that_of_a_real_user_with_the_scores_of_the_run(run):
    stories = read(run, "stories.json")
    drawn = [story for story in stories if story["kind"] == "drawn"]
    assert sorted(story["method"] for story in drawn) == sorted(METHODS)
    assert len({story["user_id"] for story in drawn}) == 1
    for story in stories:
        assert sum(entry["label"] for entry in story["ranked"]) == 1
        shown = [entry["probability"] for entry in story["ranked"]]
        assert shown == sorted(shown, reverse=True)
        assert len(story["steps"]) >= len(story["blocks"])


def test_a_win_and_a_loss_are_told_where_the_ranker_is_furthest_from_the_best_baseline(run):
    stories, metrics = read(run, "stories.json"), read(run, "metrics.json")
    drawn = stories[0]["user_id"]
    method = max(METHODS, key=lambda name: metrics[f"trsr-{name}"][f"mrr@3/u{NEGATIVES}"]["mean"])
    ranks = {model: places(run, model) for model in (f"trsr-{method}", "popularity")}
    gains = {user: ranks["popularity"][user] - ranks[f"trsr-{method}"][user] for user in ranks["popularity"]}
    others = {user: gain for user, gain in gains.items() if user != drawn}
    wanted = [(kind, gain) for kind, gain in (("win", max(others.values())), ("loss", min(others.values()))) if gain]
    told = [story for story in stories if story["kind"] != "drawn"]
    assert [story["kind"] for story in told] == [kind for kind, gain in wanted if (gain > 0) == (kind == "win")]
    for story in told:
        user = story["user_id"]
        assert user != drawn
        assert (story["model"], story["against"]) == (f"trsr-{method}", "popularity")
        assert (story["rank"], story["rank_against"]) == (ranks[f"trsr-{method}"][user], ranks["popularity"][user])
        assert ("win", gains[user]) in wanted or ("loss", gains[user]) in wanted


def places(run, model):
    """The target's place by user the slow way: the mean over all orders of tied candidates."""
    joined = table(run, "candidates").join(table(run, f"scores/{model}"), on=["example_id", "item_id"])
    found = {}
    for (user,), rows in joined.partition_by("user_id", as_dict=True).items():
        [target] = rows.filter(pl.col("label") == 1)["score"]
        better, tied = (rows["score"] > target).sum(), (rows["score"] == target).sum()
        found[user] = better + (1 + tied) / 2
    return found


def test_controls_that_the_settings_do_not_ask_for_are_said_to_be_missing(run):
    [line] = [line for line in read(run, "checks.json") if line["check"] == "rankings hang on histories and texts"]
    assert line["detail"] == "not tried: checks.control_examples is 0"
