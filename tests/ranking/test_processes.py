"""Training shared by two processes: the same losses, weights and checkpoints as in one, through DDP and FSDP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from shared_training import TESTS, train_shared
from tiny_rankers import SETTINGS, make_base, train_here

from trsr.errors import ConfigError
from trsr.ranking.processes import refuse_several

# rows of two examples: steps of 4, 5 and 24 examples are 2, 3 and 12 rows, so one process may have a row less
RUNS = {
    "lora": {"row_tokens": 60, "lora_dropout": 0.1, "examples_per_step": 5, "epochs": 2},
    "full": {"tune": "full", "tokens_per_step": 150, "row_tokens": 60, "learning_rate": 3e-3, "epochs": 2},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """What one process makes of the runs."""
    out = tmp_path_factory.mktemp("alone")
    train_shared(base, out, "ddp", RUNS)
    return out


def train_together(base: Path, out: Path, way: str) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = str(Path(__file__).with_name("shared_training.py"))
    place = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [*launch, program, str(base), str(out), way, json.dumps(RUNS)],
        env={**os.environ, **place},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def log_of(out: Path, name: str) -> dict:
    return json.loads((out / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def together(request, base, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    train_together(base, out, request.param)
    return out


@pytest.mark.parametrize("name", list(RUNS))
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(alone, together, name):
    one, two = log_of(alone, name), log_of(together, name)
    assert [step["loss"] for step in two["steps"]] == pytest.approx([step["loss"] for step in one["steps"]], abs=2e-5)
    for first, second in zip(one["evaluations"], two["evaluations"], strict=True):
        assert second == pytest.approx(first, abs=1e-4)
    assert (two["tokens"], two["best_step"]) == (one["tokens"], one["best_step"])
    assert one["best_step"] > 0
    file = "adapter_model.safetensors" if name == "lora" else "model.safetensors"
    weights, expected = (load_file(out / name / file) for out in (together, alone))
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        assert (weights[key] - value).abs().max().item() < 1e-5, key


def test_a_checkpoint_of_two_processes_continues_in_one(base, together):
    settings = SETTINGS.model_copy(update=RUNS["lora"])
    _, log = train_here(base, together / "checkpoints" / "lora", settings)
    assert log.as_dict() == log_of(together, "lora")


def test_a_whole_run_is_refused_in_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"^trsr run runs in one process; share the training with `accelerate launch"):
        refuse_several("trsr run")
    monkeypatch.delenv("WORLD_SIZE")
    refuse_several("trsr run")
