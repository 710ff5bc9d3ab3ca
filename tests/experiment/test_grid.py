"""A grid of runs: what its cells share, that sharing changes no number, and what is left of it when things go wrong."""

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from baselines.small_world import world_config, write_world
from experiment.tiny_shop import make_base, make_shop, settings
from experiment.watching import run_until_killed, watch
from trsr.config import load_grid
from trsr.errors import ConfigError, DataError
from trsr.experiment import grid as grid_module
from trsr.experiment.grid import plan_grid, run_grid
from trsr.experiment.run import run_experiment
from trsr.llm.memory import RAN_OUT

CELLS = {
    "short": {"prompt.recent_items": 1},
    "pairwise": {"training.loss": "pairwise"},
    "small-blocks": {"summaries.block_size": 2},
}
BASELINES = ["popularity", "item_knn"]
UNTOUCHED = {
    "base": [],
    "short": BASELINES,
    "pairwise": [*BASELINES, "untuned"],
    "small-blocks": [*BASELINES, "untuned"],
}


def taken_by(cell: str, models: list[str]) -> dict[str, str]:
    """What a cell takes from the base: what its override does not reach."""
    plain = [model for model in models if model.startswith("trsr-") and model != "trsr-recurrent"]
    return dict.fromkeys(UNTOUCHED[cell] + (plain if cell == "small-blocks" else []), "base")


def write_grid(path: Path, experiment: dict, **values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"name": "g", "experiment": experiment, **values}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(run):
    """All files of a run that hold a result, and no time or place."""
    names = ("metrics.json", "comparisons.json", "checks.json", "stories.json", "trsr.json")
    return {
        name: content
        for name, content in files(run).items()
        if name.endswith((".parquet", ".safetensors")) or Path(name).name in names
    }


def states(out):
    return {cell["name"]: cell["state"] for cell in read(out, "grid.json")["cells"]}


# with rankers


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A grid with rankers, run once, and all that its models did."""
    folder = tmp_path_factory.mktemp("grid")
    experiment = settings(
        make_base(folder / "base"),
        make_shop(folder / "shop"),
        methods=["recurrent", "none"],  # another order than that in which a cell gets them, taken ones first
        baselines=BASELINES,
        split={"max_train": 6, "max_valid": 3, "max_test": 4},
    )
    write_grid(folder / "grid.yaml", experiment, cells=CELLS)
    with pytest.MonkeyPatch.context() as patch:
        done = watch(patch)
        records, code = run_grid(load_grid(folder / "grid.yaml"), folder / "out")
    assert [record.state for record in records] == ["done"] * 4
    assert code == 0
    return folder, done


def test_models_with_the_same_inputs_are_taken_and_all_others_made(world):
    folder, _ = world
    models = load_grid(folder / "grid.yaml").cells[0].config.models
    assert {"popularity", "item_knn", "untuned", "trsr-none", "trsr-recurrent"} <= set(models)
    for cell in UNTOUCHED:
        manifest, taken = read(folder / "out" / cell, "manifest.json"), taken_by(cell, models)
        assert manifest.get("taken", {}) == taken
        made = {name.removeprefix("score ") for name in manifest["seconds"] if name.startswith("score ")}
        assert made == {*models, "oracle"} - set(taken)
        for model in taken:
            scores = [folder / "out" / name / "scores" / f"{model}.parquet" for name in (cell, "base")]
            assert scores[0].samefile(scores[1])
    assert (folder / "out/small-blocks/adapter/trsr-none/trsr.json").exists()


def test_the_plan_says_before_what_is_shared(world):
    folder, _ = world
    grid = load_grid(folder / "grid.yaml")
    for cell, plan in zip(grid.cells, plan_grid(grid), strict=True):
        models = cell.config.models
        assert plan.takes == taken_by(cell.name, models)
        assert plan.makes == [model for model in models if model not in plan.takes]


def test_a_cell_ends_to_the_byte_as_a_run_of_its_settings_alone(world, tmp_path):
    (folder, _), cell = world, "small-blocks"
    wanted = next(one for one in load_grid(folder / "grid.yaml").cells if one.name == cell)
    run_experiment(wanted.config, tmp_path / "alone")
    shared, alone = results(folder / "out" / cell), results(tmp_path / "alone")
    assert shared.keys() == alone.keys()
    assert [name for name in shared if shared[name] != alone[name]] == []
    manifests = [read(run, "manifest.json") for run in (folder / "out" / cell, tmp_path / "alone")]
    for part in ("scoring", "ranker", "fingerprints"):
        assert manifests[0][part] == manifests[1][part]
    assert manifests[0]["training"].keys() == manifests[1]["training"].keys()


def test_a_call_for_a_summary_is_made_once_for_all_cells(world):
    folder, done = world
    calls = [what for what in done if what.startswith("call ")]
    assert len(calls) == len(set(calls)) > 0
    made = {cell: read(folder / "out" / cell, "manifest.json")["summaries"]["of_these_made_now"] for cell in UNTOUCHED}
    assert made["base"]["calls"] > 0
    assert made["small-blocks"]["calls"] > 0
    assert {made[cell]["calls"] for cell in ("short", "pairwise")} == {0}
    assert not list((folder / "out").glob("*/summaries.sqlite"))


def test_the_record_says_what_every_cell_is(world):
    folder, _ = world
    record = read(folder / "out", "grid.json")
    assert (record["name"], record["base"], record["seeds"]) == ("g", None, None)
    assert record["varied"] == [key for overrides in CELLS.values() for key in overrides]
    for cell, overrides in zip(record["cells"], [{}, *CELLS.values()], strict=True):
        assert cell["overrides"] == overrides
        assert (cell["group"], cell["seed"], cell["state"], cell["error"]) == (cell["name"], None, "done", None)


def test_a_finished_grid_does_nothing_when_it_is_run_again(world, monkeypatch):
    folder, _ = world
    before = files(folder / "out")
    monkeypatch.setattr(grid_module, "run_experiment", lambda *_: pytest.fail("a finished cell was run"))
    records, code = run_grid(load_grid(folder / "grid.yaml"), folder / "out")
    assert {record.state for record in records} == {"done"}
    assert code == 0
    assert files(folder / "out") == before


def test_a_model_begun_elsewhere_is_not_offered_to_other_cells(world, tmp_path):
    """Half of its scores may be another machine's."""
    folder, _ = world
    shutil.copytree(folder / "out" / "base", tmp_path / "out" / "base")
    base = tmp_path / "out" / "base"
    for name in ("report.html", "scores/trsr-none.parquet"):
        (base / name).unlink()
    manifest = read(base, "manifest.json")
    manifest["inputs"]["trsr-none"] = "key of another machine"
    (base / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    cells = {"resampled": {"evaluation.resamples": 101}}
    experiment = yaml.safe_load((folder / "grid.yaml").read_text(encoding="utf-8"))["experiment"]
    grid = load_grid(write_grid(tmp_path / "grid.yaml", experiment, cells=cells))
    run_grid(grid, tmp_path / "out")
    assert read(base, "manifest.json")["inputs"]["trsr-none"] == ""
    taken = read(tmp_path / "out" / "resampled", "manifest.json")["taken"]
    assert taken == {model: "base" for model in grid.cells[0].config.models if model != "trsr-none"}


def test_a_killed_grid_ends_as_an_undisturbed_one_and_repeats_no_finished_work(world, tmp_path, monkeypatch):
    folder, whole = world
    out = tmp_path / "out"
    before = run_until_killed(folder / "grid.yaml", out, tmp_path / "log", "step", 10)
    assert (states(out)["base"], states(out)["small-blocks"]) == ("done", "waiting")
    after = watch(monkeypatch)
    run_grid(load_grid(folder / "grid.yaml"), out)
    for cell in UNTOUCHED:
        assert results(out / cell) == results(folder / "out" / cell)
        manifests = [read(run / cell, "manifest.json") for run in (out, folder / "out")]
        assert manifests[0].get("taken") == manifests[1].get("taken")
    # the step that is told last was begun, and the process died before it
    assert sorted([*before[:-1], *after]) == sorted(whole)


# with baselines alone, which take no time


@pytest.fixture
def small(tmp_path):
    write_world(tmp_path / "world")
    plain = world_config(tmp_path / "world", baselines=BASELINES).model_dump(mode="json")
    return tmp_path, plain


def small_grid(small, **values):
    folder, experiment = small
    return load_grid(write_grid(folder / "grid.yaml", experiment, **values))


def test_a_failing_cell_is_noted_and_the_others_go_on_and_only_it_is_tried_again(small, monkeypatch):
    folder, out = small[0], small[0] / "out"
    cells = {
        "lost": {"data.path": "nowhere"},
        "other": {"candidates.negatives": 5},
        "huge": {"candidates.negatives": 59},
    }
    grid = small_grid(small, cells=cells)
    records, code = run_grid(grid, out)
    assert states(out) == {"base": "done", "lost": "failed", "other": "done", "huge": "failed"}
    assert code == DataError.exit_code
    errors = {record.name: record.error for record in records}
    assert errors["base"] is errors["other"] is None
    assert errors["lost"].startswith(f"{folder / 'nowhere'}: ")
    assert "items are left to draw from, 59 negatives are wanted" in errors["huge"]
    assert [cell["error"] for cell in read(out, "grid.json")["cells"]] == list(errors.values())

    write_world(folder / "nowhere")
    ran = []

    def run(config, place, sharing):
        ran.append(place.name)
        return run_experiment(config, place, sharing)

    monkeypatch.setattr(grid_module, "run_experiment", run)
    records, code = run_grid(grid, out)
    assert ran == ["lost", "huge"]
    assert states(out) == {"base": "done", "lost": "done", "other": "done", "huge": "failed"}
    assert code == DataError.exit_code


def test_whatever_is_raised_ends_one_cell_in_one_sentence_and_a_bug_leaves_its_traceback(small, monkeypatch):
    out = small[0] / "out"
    grid = small_grid(small, cells={"full": {"candidates.negatives": 5}, "bug": {"candidates.negatives": 6}})

    def run(config, place, sharing):
        if place.name == "full":
            raise MemoryError
        if place.name == "bug":
            raise ZeroDivisionError("two\nlines")
        return run_experiment(config, place, sharing)

    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "run_experiment", run)
        records, code = run_grid(grid, out)
    assert code == 4
    assert [record.error for record in records] == [
        None,
        RAN_OUT,
        f"ZeroDivisionError: two lines; most likely a bug of trsr, see {out / 'bug' / 'error.txt'}",
    ]
    assert "Traceback" in (out / "bug" / "error.txt").read_text(encoding="utf-8")
    assert run_grid(grid, out)[1] == 0
    assert not (out / "bug" / "error.txt").exists()


def test_ctrl_c_ends_the_whole_grid_and_it_goes_on_where_it_was(small, monkeypatch):
    out = small[0] / "out"
    grid = small_grid(small, grid={"candidates.negatives": [9, 8, 7]})

    def stop(config, place, sharing):
        if config.candidates.negatives == 8:
            raise KeyboardInterrupt
        return run_experiment(config, place, sharing)

    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "run_experiment", stop)
        with pytest.raises(KeyboardInterrupt):
            run_grid(grid, out)
    assert list(states(out).values()) == ["done", "waiting", "waiting"]
    before = files(out / "negatives-9")
    run_grid(grid, out)
    assert list(states(out).values()) == ["done"] * 3
    assert files(out / "negatives-9") == before


def test_a_grid_file_may_grow_but_a_cell_keeps_its_settings(small):
    out = small[0] / "out"
    run_grid(small_grid(small, cells={"five": {"candidates.negatives": 5}}), out)
    before = files(out)
    changed = small_grid(small, cells={"five": {"candidates.negatives": 4}, "six": {"candidates.negatives": 6}})
    with pytest.raises(ConfigError) as error:
        run_grid(changed, out)
    assert str(error.value).startswith(
        f"{out / 'five'}: holds a run of other settings (candidates.negatives: 5 there, 4 asked)"
    )
    assert files(out) == before
    run_grid(small_grid(small, cells={"six": {"candidates.negatives": 6}, "metric": {"evaluation.ks": [2]}}), out)
    assert states(out) == {"base": "done", "six": "done", "metric": "done"}
    assert read(out / "metric", "manifest.json")["taken"] == {"popularity": "base", "item_knn": "base"}
    assert (out / "five" / "report.html").exists()
    renamed = small_grid(small, cells={"metric": {"evaluation.ks": [2]}, "cinq": {"candidates.negatives": 5}})
    run_grid(renamed, out)
    assert read(out / "cinq", "manifest.json")["taken"] == {"popularity": "five", "item_knn": "five"}


def test_a_cell_is_not_compared_with_cells_of_other_data_under_the_same_path(small):
    folder, out = small[0], small[0] / "out"
    run_grid(small_grid(small, cells={"five": {"candidates.negatives": 5}}), out)
    path = folder / "world" / "items.parquet"
    pl.read_parquet(path).with_columns(pl.col("title") + "!").write_parquet(path)
    cells = {"five": {"candidates.negatives": 5}, "six": {"candidates.negatives": 6}, "young": {"data.min_history": 3}}
    records, code = run_grid(small_grid(small, cells=cells), out)
    assert states(out) == {"base": "done", "five": "done", "six": "failed", "young": "done"}
    assert code == DataError.exit_code
    assert f"{out / 'six'}: base was made from other data than there are now" in records[2].error


def test_a_file_that_was_taken_is_whole_when_the_cell_it_came_from_is_gone_or_cannot_be_linked(small, monkeypatch):
    out = small[0] / "out"

    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    run_grid(small_grid(small, cells={"metric": {"evaluation.ks": [2]}}), out)
    scores = [out / name / "scores" / "item_knn.parquet" for name in ("base", "metric")]
    assert not scores[0].samefile(scores[1])
    assert scores[0].read_bytes() == scores[1].read_bytes()
    shutil.rmtree(out / "base")
    run_grid(small_grid(small, cells={"metric": {"evaluation.ks": [2]}}), out)
    assert states(out) == {"base": "done", "metric": "done"}
    assert read(out / "base", "manifest.json")["taken"] == {"popularity": "metric", "item_knn": "metric"}
    assert scores[0].read_bytes() == scores[1].read_bytes()


def test_a_run_and_a_grid_do_not_share_a_folder(small):
    folder, out = small[0], small[0] / "out"
    grid = small_grid(small, cells={"five": {"candidates.negatives": 5}})
    config = world_config(folder / "world", baselines=["popularity"])
    run_experiment(config, folder / "run")
    with pytest.raises(ConfigError, match=r"run: holds a run, not a grid; give another --out$"):
        run_grid(grid, folder / "run")
    run_grid(grid, out)
    with pytest.raises(ConfigError, match=r"out: holds a grid, not a run; give another --out$"):
        run_experiment(config, out)
    (out / "grid.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"grid.json: not the record of a grid; delete it and run again"):
        run_grid(grid, out)
