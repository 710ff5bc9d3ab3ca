"""The keys that decide whether a model may be taken from another run: any input that reaches it changes its key."""

import copy

import polars as pl
import pytest

from experiment.tiny_shop import config_of, make_base, make_shop
from trsr.experiment import sharing
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.sharing import Inputs, hash_table, key_of
from trsr.experiment.tasks import make_tasks
from trsr.prompts.templates import TemplateSet

METHODS = ["none", "recurrent", "extractive"]
BASELINES = {"popularity", "bm25", "embedding"}
TUNED = {f"trsr-{method}" for method in METHODS}
RANKERS = TUNED | {"untuned"}
ALL = BASELINES | RANKERS
CHANGES = [
    ({"prompt": {"recent_items": 1}}, RANKERS),
    ({"prompt": {"template": "shop"}}, ALL),
    ({"training": {"loss": "answer"}}, TUNED),
    ({"training": {"seed": 8}}, TUNED),
    ({"training": {"best_by": "loss"}}, TUNED),
    ({"candidates": {"train_negatives": 2}}, TUNED),
    ({"candidates": {"negatives": 5}}, ALL),
    ({"split": {"max_train": 5}}, TUNED),
    ({"split": {"max_test": 3}}, ALL),
    ({"split": {"valid": 0.3}}, ALL),
    ({"seed": 4}, ALL),
    ({"data": {"attributes": ["title"]}}, ALL),
    ({"data": {"min_history": 11}}, ALL),
    ({"data": {"max_history": 3}}, ALL),
    ({"ranker": {"dtype": "bfloat16"}}, RANKERS),
    ({"ranker": {"base": "other"}}, RANKERS | {"embedding"}),
    ({"embedding": {"item_tokens": 9}}, {"embedding"}),
    ({"embedding": {"model": "other"}}, {"embedding"}),
    ({"summaries": {"block_size": 2}}, {"trsr-recurrent", "trsr-extractive"}),
    ({"summaries": {"model": "other"}}, {"trsr-recurrent"}),
    ({"summaries": {"template": "shop"}}, {"trsr-recurrent", "trsr-extractive"}),
    ({"summaries": {"template": "books"}}, set()),
    ({"summaries": {"batch_size": 2}}, set()),
    ({"evaluation": {"ks": [1]}}, set()),
    ({"name": "another"}, set()),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharing")
    make_base(folder / "base")
    make_shop(folder / "shop")
    return folder


def config(world, **changes):
    return config_of(world / "base", world / "shop", **({"methods": METHODS, "baselines": sorted(BASELINES)} | changes))


def texts(config, tasks):
    """Summaries of all examples as they would be: other ones where the settings that reach them are others."""
    examples = [name for frame in tasks.candidates.values() for name in frame["example_id"].unique()]
    extractive = (config.summaries.block_size, config.summary_template)
    reached = {"recurrent": (*extractive, config.summaries.model), "extractive": extractive}
    return {
        method: {} if method == "none" else {name: f"{name} {reached[method]}" for name in examples}
        for method in METHODS
    }


def found(config, folder, **changes):
    tasks = make_tasks(config)
    fingerprints = {
        "data": tasks.dataset.fingerprint,
        "templates": TemplateSet(config.prompt.template).fingerprint,
        "weights": config.ranker.base,
        "embedding": config.embedding.model or config.ranker.base,
    }
    run = RunFolder(folder)
    run.write_json("manifest.json", {"fingerprints": fingerprints | changes})
    return Inputs.found(tasks, texts(config, tasks), run)


def keys(config, inputs):
    return {model: key_of(model, config, inputs) for model in config.models}


def changed(before, after):
    assert before.keys() == after.keys() == ALL
    return {model for model in before if before[model] != after[model]}


@pytest.mark.parametrize(("change", "models"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_a_setting_changes_the_keys_of_the_models_that_it_reaches_and_no_other(world, tmp_path, change, models):
    """And the plan, which knows the settings alone, tells the same as what is found."""
    before, after = config(world), config(world, **change)
    assert changed(keys(before, found(before, tmp_path)), keys(after, found(after, tmp_path))) == models
    assert changed(keys(before, Inputs.planned(before)), keys(after, Inputs.planned(after))) == models


def test_the_keys_of_two_models_and_of_two_orders_of_methods_differ_as_they_must(world, tmp_path):
    plain = config(world)
    of_plain = keys(plain, found(plain, tmp_path))
    assert len(set(of_plain.values())) == len(ALL)
    turned = config(world, methods=METHODS[::-1], baselines=sorted(BASELINES)[::-1])
    assert keys(turned, found(turned, tmp_path)) == of_plain
    assert keys(config(world, untuned=False), found(plain, tmp_path)) == {
        model: key for model, key in of_plain.items() if model != "untuned"
    }
    without = config(world, methods=METHODS[1:])  # the untuned ranker reads summaries then
    assert key_of("untuned", without, found(without, tmp_path)) != of_plain["untuned"]


@pytest.mark.parametrize(
    ("what", "models"),
    [("data", ALL), ("templates", ALL), ("weights", RANKERS), ("embedding", {"embedding"})],
)
def test_other_content_under_the_same_settings_is_another_key(world, tmp_path, what, models):
    plain = config(world)
    assert changed(keys(plain, found(plain, tmp_path)), keys(plain, found(plain, tmp_path, **{what: "x"}))) == models


def test_another_machine_or_version_is_another_key(world, tmp_path, monkeypatch):
    plain = config(world)
    before = keys(plain, found(plain, tmp_path))
    monkeypatch.setattr(sharing, "describe_machine", lambda: {"torch": "0.1"})
    assert changed(before, keys(plain, found(plain, tmp_path))) == ALL


def test_one_other_text_row_or_event_is_another_key(world, tmp_path):
    plain = config(world)
    tasks = make_tasks(plain)
    inputs = found(plain, tmp_path)
    summaries = texts(plain, tasks)
    first = tasks.candidates["train"]["example_id"][0]
    summaries["recurrent"][first] += "!"
    other = Inputs.found(tasks, summaries, RunFolder(tmp_path))
    assert changed(keys(plain, inputs), keys(plain, other)) == {"trsr-recurrent"}

    fewer = copy.copy(tasks)
    events = tasks.examples.fit_events
    object.__setattr__(fewer, "examples", copy.copy(tasks.examples))
    object.__setattr__(fewer.examples, "fit_events", events.head(events.height - 1))
    assert (
        changed(keys(plain, inputs), keys(plain, Inputs.found(fewer, texts(plain, tasks), RunFolder(tmp_path)))) == ALL
    )


def test_a_table_is_hashed_by_names_types_values_and_order_and_not_by_its_chunks(monkeypatch):
    frame = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "ü"]})
    others = [
        frame.rename({"a": "c"}),
        frame.cast({"a": pl.Int32}),
        frame.with_columns(b=pl.Series(["x", "", "ü"])),
        frame.reverse(),
        frame.head(2),
    ]
    assert len({hash_table(one) for one in [frame, *others]}) == 6
    chunked = pl.concat([frame.head(1), frame.tail(2)], rechunk=False)
    assert hash_table(chunked) == hash_table(frame)
    monkeypatch.setattr("trsr.data.dataset._HASHED_ROWS", 2)
    assert hash_table(frame) == hash_table(chunked)
