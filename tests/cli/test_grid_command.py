"""`trsr run` of a grid as a user types it: the table, the plan, the exit code, and what is left on disk."""

import json
import subprocess
import sys

import pytest
import yaml

from baselines.small_world import world_config, write_world
from experiment.tiny_shop import settings


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "world")
    plain = world_config(tmp_path / "world", baselines=["popularity", "item_knn"]).model_dump(mode="json")
    return tmp_path, plain


def write(folder, experiment, **values):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"name": "g", "experiment": experiment, **values}, sort_keys=False), "utf-8")
    return path


def test_a_grid_ends_with_a_table_of_its_cells_and_where_it_is(small, trsr):
    folder, plain = small
    path = write(folder, plain, cells={"wide": {"evaluation.ks": [3, 5]}})
    outcome = trsr("run", path)
    assert outcome.code == 0
    metrics = json.loads((folder / "runs/g/base/metrics.json").read_text(encoding="utf-8"))
    best = max(values["recall@3/u9"]["mean"] for name, values in metrics.items() if name != "chance")
    rows = [line.split() for line in outcome.out.splitlines() if line.strip().startswith(("base ", "wide "))]
    assert [row[:3] for row in rows] == [[cell, ".300", f"{best:.3f}".removeprefix("0")] for cell in ("base", "wide")]
    assert (
        "recall@3 with 9 uniform negatives per example (u9): mean ± half of the 95 % interval over users\n"
        in outcome.out
    )
    assert outcome.out.endswith("grid: runs/g/grid.json\n")
    planned = trsr("run", path, "--dry-run").out.splitlines()
    assert planned[0] == "base (done)"
    assert planned[1] == "wide (done): evaluation.ks [3, 5]"
    assert planned[2].startswith("0 cells to run")
    printed = json.loads(trsr("run", path, "--json").out)
    assert printed["metrics"]["base"] == metrics
    assert [cell["state"] for cell in printed["cells"]] == ["done", "done"]


def test_seeds_are_one_row_with_their_spread_and_other_candidates_are_told_apart(small, trsr):
    folder, plain = small
    outcome = trsr("run", write(folder, plain, grid={"candidates.negatives": [9, 5]}, seeds=[1, 2]), "--out", "x")
    assert outcome.code == 0
    assert "negatives-9 (recall@3/u9), 2 seeds" in outcome.out
    assert "negatives-5 (recall@3/u5), 2 seeds" in outcome.out
    caption = "the first metric of each cell, which cannot be compared: mean ± standard deviation over seeds"
    assert f"\n{caption}\n" in outcome.out


def test_a_failed_cell_is_told_and_gives_the_exit_code(small, trsr):
    folder, plain = small
    outcome = trsr("run", write(folder, plain, cells={"lost": {"data.path": "nowhere"}}))
    assert outcome.code == 3
    assert "\nfailed: lost: " in outcome.out
    assert "Traceback" not in outcome.out + outcome.err
    assert json.loads((folder / "runs/g/grid.json").read_text(encoding="utf-8"))["cells"][0]["state"] == "done"


def test_a_dry_run_lists_cells_and_what_they_share_and_leaves_nothing(tmp_path, monkeypatch, trsr):
    monkeypatch.chdir(tmp_path)
    plain = settings(tmp_path / "base", tmp_path / "shop", methods=["none"])  # neither is there, nor needed
    path = write(tmp_path, plain, cells={"pairwise": {"training.loss": "pairwise"}, "wide": {"evaluation.ks": [3]}})
    outcome = trsr("run", path, "--dry-run")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "base (waiting)",
        "  makes: popularity, untuned, trsr-none",
        'pairwise (waiting): training.loss "pairwise"',
        "  makes: trsr-none",
        "  takes from base: popularity, untuned",
        "wide (waiting): evaluation.ks [3]",
        "  takes from base: popularity, untuned, trsr-none",
        "3 cells to run; 2 rankers to tune, where separate runs would tune 3",
    ]
    printed = json.loads(trsr("run", path, "--dry-run", "--json").out)
    assert printed[1]["takes"] == {"popularity": "base", "untuned": "base"}
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize("held", ["runs/g", "runs/g/base"])
def test_a_folder_where_another_process_is_at_work_is_left_alone(small, trsr, held):
    folder, plain = small
    path = write(folder, plain, cells={"wide": {"evaluation.ks": [3, 5]}})
    program = "import sys, trsr.files\nwith trsr.files.held(trsr.files.Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", program, held]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as other:
        other.stdout.readline()
        outcome = trsr("run", path)
        other.kill()
    assert outcome.code == 2
    assert f"{held}: another process is at work there; wait, or give another --out" in outcome.err
    assert not (folder / "runs/g/base/config.yaml").exists()
    assert (folder / "runs/g/wide/report.html").exists() == (held == "runs/g/base")  # the other cells go on
    assert trsr("run", path).code == 0  # a killed process holds nothing


def test_mistakes_end_in_one_sentence(small, trsr):
    folder, plain = small
    path = write(folder, plain, grid={"prompt.recnt_items": [1]})
    outcome = trsr("run", path)
    assert outcome.code == 2
    assert outcome.complaint.startswith(f"{path}: grid: prompt.recnt_items: unknown setting; known under prompt: ")
    single = folder / "single.yaml"
    single.write_text(yaml.safe_dump(plain), encoding="utf-8")
    outcome = trsr("run", single, "--dry-run")
    assert outcome.code == 2
    assert "--dry-run is for grids" in outcome.complaint
