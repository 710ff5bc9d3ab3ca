"""Runs under every protocol: its name is in the metrics, chance is exact, and segments add up."""

import json
from itertools import product

import polars as pl
import pytest
from typer.testing import CliRunner

from baselines.small_world import make_encoder, world_config, write_world
from experiment.tiny_shop import make_base
from experiment.tiny_shop import settings as make_settings
from trsr.cli.app import app
from trsr.config import ExperimentConfig, parse_settings
from trsr.data.columns import TEST, TRAIN, VALID
from trsr.errors import ConfigError
from trsr.experiment import candidates as candidates_module
from trsr.experiment.run import run_experiment
from trsr.experiment.tasks import make_tasks

PROTOCOLS = {
    "uniform": ({"negatives": 9}, "u9"),
    "popular": ({"source": "popular", "negatives": 9}, "p9"),
    "retrieved": ({"source": "retrieved", "negatives": 9}, "r9"),
    "impressions": ({"source": "impressions", "train_negatives": 2}, "i~5"),
    "catalogue": ({"source": "catalogue"}, "full"),
}
BASELINES = ["popularity", "recent_popularity", "bm25", "item_knn", "als"]


def write_impressions(folder):
    """Every event of the world but the first four was clicked among others; some show two clicks, some fewer items."""
    events, items = pl.read_parquet(folder / "interactions.parquet"), pl.read_parquet(folder / "items.parquet")
    ids, rows = items["item_id"].to_list(), []
    for (user,), part in events.group_by("user_id", maintain_order=True):
        taken = part["item_id"].to_list()
        for place in range(4, len(taken)):
            start = (place * 7 + int(user[1:])) % 50
            others = [item for item in ids[start : start + 4 + place % 2] if item != taken[place]]
            several = (place + int(user[1:])) % 3 == 0
            clicked = [taken[place], others[0]] if several else [taken[place]]
            rows.append((f"{user}-{place}", user, place, "train", [others[0], taken[place], *others[1:]], clicked))
    columns = {"example_id": pl.String, "user_id": pl.String, "timestamp": pl.Int64, "split": pl.String}
    columns |= {"shown": pl.List(pl.String), "clicked": pl.List(pl.String)}
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder / "impressions.parquet")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_impressions(write_world(tmp_path_factory.mktemp("protocols") / "world"))


def config(world, settings, **changes):
    split = {"by": "auto" if settings.get("source") == "impressions" else "last"}
    values = {"candidates": settings, "split": split, "baselines": BASELINES, "evaluation": {"ks": [3, 5]}}
    return world_config(world, **(values | changes))


@pytest.fixture(scope="module", params=list(PROTOCOLS))
def run(request, world, tmp_path_factory):
    settings, protocol = PROTOCOLS[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "run"
    run_experiment(config(world, settings), folder)
    return folder, protocol


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_protocol_is_in_the_name_of_every_metric(run):
    folder, protocol = run
    metrics = read(folder, "metrics.json")
    assert set(metrics) == {"chance", *BASELINES}
    kinds = [f"{kind}@{k}" for kind in ("recall", "mrr", "ndcg", "hit") for k in (3, 5)]
    assert {name for values in metrics.values() for name in values} == {
        f"{name}/{protocol}" for name in [*kinds, "auc"]
    }
    scores = folder / "scores" / "popularity.parquet"
    found = CliRunner().invoke(app, ["evaluate", str(folder / "candidates.parquet"), str(scores), "--json"])
    told = json.loads(found.stdout)
    assert told["popularity"][f"recall@3/{protocol}"]["mean"] == metrics["popularity"][f"recall@3/{protocol}"]["mean"]


def test_a_constant_scorer_gets_exactly_chance(run):
    folder, protocol = run
    sizes = pl.read_parquet(folder / "candidates.parquet").group_by("user_id", "example_id").len()
    for k in (3, 5):
        of_users = sizes.group_by("user_id").agg(share=(k / pl.col("len")).clip(upper_bound=1).mean())
        expected = of_users["share"].mean()
        assert read(folder, "metrics.json")["chance"][f"recall@{k}/{protocol}"]["mean"] == pytest.approx(
            expected, abs=1e-12
        )
    checks = {entry["check"]: entry["result"] for entry in read(folder, "checks.json")}
    assert checks["a constant scorer gets chance"] == "ok"


def test_segments_part_the_examples_and_have_the_names_of_the_metrics(run):
    folder, _ = run
    examples = pl.read_parquet(folder / "candidates.parquet")["example_id"].n_unique()
    metrics, segments = read(folder, "metrics.json"), read(folder, "segments.json")
    for group in ("item", "popularity", "user", "history"):
        assert sum(entry["examples"] for entry in segments.values() if entry["group"] == group) == examples
    for entry in segments.values():
        assert {model: set(values) for model, values in entry["metrics"].items()} == {
            model: set(values) for model, values in metrics.items()
        }


def test_the_page_of_the_run_names_the_protocol(run):
    folder, protocol = run
    words = {
        "u9": "9 uniform",
        "p9": "9 popular",
        "r9": "9 retrieved",
        "i~5": "about 5 impression",
        "full": "all other items",
    }
    assert words[protocol] in (folder / "report.html").read_text(encoding="utf-8")


def test_only_the_wanted_kind_stands_beside_a_target(world):
    wanted = {
        "uniform": ("uniform",) * 3,
        "popular": ("popular",) * 3,
        "retrieved": ("retrieved",) * 3,
        "impressions": ("impression",) * 3,
        "catalogue": ("uniform", "catalogue", "catalogue"),
    }
    for source, (settings, _) in PROTOCOLS.items():
        found = make_tasks(config(world, settings)).candidates
        kinds = tuple(set(found[split].filter(pl.col("label") == 0)["source"]) for split in (TRAIN, VALID, TEST))
        assert kinds == tuple({kind} for kind in wanted[source])


def test_training_can_have_another_source(world):
    for source, other in product(PROTOCOLS, ("uniform", "popular", "retrieved")):
        settings = PROTOCOLS[source][0] | {"train_source": other, "train_negatives": 3}
        tasks = make_tasks(config(world, settings))
        negatives = tasks.candidates[TRAIN].filter(pl.col("label") == 0)
        assert set(negatives["source"]) == {other}
        assert set(negatives.group_by("example_id").len()["len"]) == {3}
        for task in tasks.of(TRAIN):
            others = {item for item, label in zip(task.request.candidates, task.labels, strict=True) if not label}
            assert others.isdisjoint({*tasks.whole_history(task), *task.targets})


def test_every_click_of_an_impression_is_a_target_and_none_of_its_negatives(world):
    settings = PROTOCOLS["impressions"][0] | {"train_source": "uniform", "train_negatives": 40}
    impressions = pl.read_parquet(world / "impressions.parquet")
    clicked = dict(impressions.select("example_id", "clicked").iter_rows())
    events = pl.read_parquet(world / "interactions.parquet").sort("timestamp").group_by("user_id", maintain_order=True)
    histories = {user: part["item_id"].to_list() for (user,), part in events}
    tasks = make_tasks(config(world, settings))
    several = 0
    for task in tasks.of(TEST):
        assert set(task.targets) == set(clicked[task.request.example_id])
        several += len(task.targets) > 1
        place = int(task.request.example_id.split("-")[1])
        assert list(task.request.history) == histories[task.request.user_id][:place]
    assert several > 5


def test_retrieved_negatives_are_those_that_the_scorer_puts_first(world, monkeypatch):
    """The query is the history before the target, whatever the split."""
    seen = []

    class Watching:
        def score(self, requests):
            for request in requests:
                seen.append((request.example_id, request.history))
                yield pl.Series([-int(item[1:]) for item in request.candidates]).to_numpy().astype("float32")

    monkeypatch.setattr(candidates_module, "fit_bm25", lambda *_: Watching())
    tasks = make_tasks(config(world, {"source": "retrieved", "negatives": 3, "train_negatives": 3}))
    whole = {task.request.example_id: task for split in (TRAIN, VALID, TEST) for task in tasks.of(split)}
    assert {name: list(history) for name, history in seen} == {
        name: list(tasks.whole_history(task)) for name, task in whole.items()
    }
    for task in whole.values():
        taken = {*tasks.whole_history(task), *task.targets}
        first = [f"i{number:02d}" for number in range(60) if f"i{number:02d}" not in taken][:3]
        assert sorted(set(task.request.candidates) - set(task.targets)) == first


@pytest.mark.parametrize("retriever", ["bm25", "embedding"])
def test_texts_near_the_history_are_retrieved(retriever, world, tmp_path):
    """In this world an item's text says its taste, and people stay with one."""
    encoder = {"model": str(make_encoder(tmp_path)), "dtype": "float32"}
    wanted = {"source": "retrieved", "retriever": retriever, "negatives": 3}
    tasks = make_tasks(config(world, wanted, embedding=encoder))
    near = 0
    for task in tasks.of(TEST):
        tastes = [int(item[1:]) % 4 for item in task.request.history]
        main = max(set(tastes), key=tastes.count)
        others = [item for item, label in zip(task.request.candidates, task.labels, strict=True) if not label]
        near += sum(int(item[1:]) % 4 == main for item in others)
    assert near > 0.9 * 3 * len(tasks.of(TEST))


def test_a_lacking_retriever_is_named(world, monkeypatch):
    monkeypatch.setattr(candidates_module, "lacking_packages", lambda name: "bm25s")
    with pytest.raises(ConfigError, match=r"^candidates.retriever: bm25 needs bm25s: pip install 'trsr\[baselines\]'$"):
        make_tasks(config(world, {"source": "retrieved"}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"candidates": {"source": "catalogue"}, "methods": ["none"]},
            "candidates.source catalogue is for baselines: an",
        ),
        ({"candidates": {"train_source": "catalogue"}}, "candidates: train_source catalogue is no set to train on"),
        (
            {"candidates": {"train_source": "impressions"}},
            "candidates: train_source impressions needs source impressions",
        ),
        ({"candidates": {"source": "impressions"}, "split": {"by": "last"}}, "split.by last does not part impressions"),
        (
            {"candidates": {"source": "impressions"}, "data": {"bookshop": {}}},
            "candidates.source impressions needs a dataset",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, sentence):
    values = {"name": "x", "data": {"path": "d"}, "methods": []} | changes
    with pytest.raises(ConfigError, match=f"^my.yaml: {sentence}"):
        parse_settings(ExperimentConfig, values, "my.yaml")


def test_an_llm_learns_from_and_ranks_impressions_with_several_clicks(world, tmp_path):
    settings = {
        "methods": ["none"],
        "untuned": False,
        "baselines": ["popularity"],
        "data": {"path": str(world), "min_history": 4},
        "split": {"by": "auto", "max_train": 6, "max_valid": 4, "max_test": 8},
        "candidates": {"source": "impressions", "train_negatives": 2},
    }
    changes = make_settings(make_base(tmp_path / "base"), world) | settings
    run = run_experiment(parse_settings(ExperimentConfig, changes, "test"), tmp_path / "run")
    labels = pl.read_parquet(run / "training_candidates.parquet").group_by("example_id").agg(pl.col("label").sum())
    assert labels["label"].max() == 2
    assert set(read(run, "metrics.json")) == {"chance", "popularity", "trsr-none"}
    checks = {entry["check"]: entry for entry in read(run, "checks.json")}
    assert checks["a constant scorer gets chance"]["result"] == "ok"
    assert "prefixes hold the title or id" in checks["the target is not in its own prompt (none, test)"]["detail"]
