"""What a user loses to a `kill -9`: the work in flight, and nothing else."""

from pathlib import Path

import pytest

from experiment.tiny_shop import TESTS, make_base, make_shop, write_config
from experiment.watching import run_until_killed, watch
from trsr.config import load_experiment
from trsr.experiment.run import run_experiment
from trsr.experiment.run_folder import RunFolder

RESULTS = (
    "candidates.parquet",
    "training_candidates.parquet",
    "summaries.parquet",
    *(f"scores/{name}.parquet" for name in ("untuned", "trsr-none", "trsr-recurrent")),
    *(f"adapter/trsr-{name}/adapter_model.safetensors" for name in ("none", "recurrent")),
    "metrics.json",
)
# of a call, the batch in flight; of a score, the part of two in flight; a step is kept before the next begins
IN_FLIGHT = {"call": 4, "step": 0, "score": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The config, and an undisturbed run of it: its results and all that the model did."""
    folder = tmp_path_factory.mktemp("kill")
    base, shop = make_base(folder / "base"), make_shop(folder / "shop")
    config = write_config(
        folder / "config.yaml",
        base,
        shop,
        methods=["none", "recurrent"],
        split={"max_train": 9, "max_valid": 3},
        checks={"control_examples": 3, "control_negatives": 3},
    )
    with pytest.MonkeyPatch.context() as patch:
        done = watch(patch)
        run_experiment(load_experiment(config), folder / "undisturbed")
    return config, results_of(folder / "undisturbed"), done


def results_of(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in RESULTS}


def scoring_counts(run: Path):
    return RunFolder(run).read_manifest()["scoring"]


@pytest.mark.parametrize(("place", "count"), [("call", 9), ("step", 5), ("score", TESTS + 5)])
def test_a_killed_run_ends_as_an_undisturbed_one_and_repeats_no_finished_work(
    world, tmp_path, monkeypatch, place, count
):
    config, undisturbed, whole = world
    out = tmp_path / "run"
    before = run_until_killed(config, out, tmp_path / "log", place, count)
    assert not (out / "metrics.json").exists()
    after = watch(monkeypatch)
    run_experiment(load_experiment(config), out)
    assert results_of(out) == undisturbed
    # a step that is told was begun, and the process died before it
    finished = before[:-1] if place == "step" else before
    assert set(finished) | set(after) == set(whole)
    assert len(finished) + len(after) <= len(whole) + IN_FLIGHT[place]
    assert len(set(finished) & set(after)) <= IN_FLIGHT[place]


def test_a_run_killed_again_and_again_still_ends_the_same_with_all_its_counts(world, tmp_path, monkeypatch):
    """The manifest says what was shortened in all prompts, not only in those after the last kill."""
    config, undisturbed, _ = world
    out = tmp_path / "run"
    for number, (place, count) in enumerate([("call", 5), ("score", 5), ("step", 3), ("score", 3)]):
        run_until_killed(config, out, tmp_path / f"log-{number}", place, count)
    watch(monkeypatch)
    run_experiment(load_experiment(config), out)
    assert results_of(out) == undisturbed
    counts = scoring_counts(out)
    assert counts == scoring_counts(config.parent / "undisturbed")
    assert {name: entry["prompts"] for name, entry in counts.items()} == dict.fromkeys(
        ("untuned", "trsr-none", "trsr-recurrent"), TESTS
    )
    assert not list((out / "scores").glob("*.parts"))
