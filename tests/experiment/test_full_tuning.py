"""Every weight of the model is tuned: each method begins with the base, and what is kept is what was scored."""

import json

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tiny_shop import config_of, make_base, make_shop

from trsr.experiment.run import run_experiment, train_one

TRAINING = {"tune": "full", "learning_rate": 3e-3, "epochs": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return make_base(folder / "base"), make_shop(folder / "shop"), folder


@pytest.fixture(scope="module")
def run(world):
    base, shop, folder = world
    return run_experiment(config_of(base, shop, methods=["none", "recurrent"], training=TRAINING), folder / "run")


def weights_of(run, method):
    return load_file(run / "adapter" / f"trsr-{method}" / "model.safetensors")


def test_the_second_method_begins_with_the_base_as_the_first_did(world, run, tmp_path):
    base, shop, _ = world
    config = config_of(base, shop, methods=["none", "recurrent"], training=TRAINING)
    folder, log = train_one(config, "recurrent", tmp_path)
    expected = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(run, "recurrent").items())
    assert log["best_step"] > 0
    whole = load_file(base / "model.safetensors")
    assert any(not torch.equal(value, whole[name]) for name, value in expected.items())
    assert json.loads((folder / "trsr.json").read_text(encoding="utf-8"))["tune"] == "full"


def test_a_ranker_from_its_folder_scores_as_it_did_before_it_was_saved(world, run):
    base, shop, _ = world
    path = run / "scores" / "trsr-none.parquet"
    before = pl.read_parquet(path)
    path.unlink()
    run_experiment(config_of(base, shop, methods=["none", "recurrent"], training=TRAINING), run)
    assert pl.read_parquet(path).equals(before)
