"""Training state on disk: trained weights and optimiser tensors as safetensors, the rest as JSON; no pickle.

A checkpoint folder is written under a temporary name and renamed, so it is whole or absent. Tensors are written whole,
however many processes share them, so that a run may continue on other devices. Randomness needs no state: the order
of examples and the dropout masks are functions of seed, step and row.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trsr.errors import DataError
from trsr.files import whole_folder
from trsr.ranking.processes import placed_like

TRAINING_PATH = "blocks"  # whatever scores: measuring would take another way on another day, and rounding with it


@dataclass
class TrainingLog:
    """What a training run did: loss per step, evaluations, and the best step on validation.

    `row_tokens` is the most tokens of a row, and from which step on: the first entry is what the run began with, each
    further one an answer to memory that ran out. `attention` is how packed rows are attended to.
    """

    fingerprint: str
    steps: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    row_tokens: list[dict[str, int]] = field(default_factory=list)
    best_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    attention: str = TRAINING_PATH

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingState:
    """Tensors of a run, whole and on the CPU: trained weights now and at the best step, and the optimiser's."""

    weights: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        gather: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    ) -> "TrainingState":
        """The state of a run, by `Processes.gather`; all processes that share it must call this together."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in parameters.items()
            for key, value in optimizer.state.get(parameter, {}).items()
        }
        return cls(gather(parameters), best, gather(moments))


def save_checkpoint(folder: Path, step: int, log: TrainingLog, state: TrainingState) -> None:
    """Write the checkpoint of `step` into `folder` and remove the ones before it; `ConfigError` if the disk is full."""
    name = f"step-{step:07d}"
    with whole_folder(folder / name) as work:
        save_file(dict(state.weights), work / "weights.safetensors")
        save_file(dict(state.best), work / "best.safetensors")
        save_file(dict(state.moments), work / "optimizer.safetensors")
        (work / "state.json").write_text(json.dumps({"step": step, "log": log.as_dict()}), encoding="utf-8")
    for old in (*folder.glob("step-*"), *folder.glob(".step-*.partial")):
        if old.name != name:
            shutil.rmtree(old)


def load_checkpoint(
    folder: Path, fingerprint: str, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[int, TrainingLog, dict[str, Tensor]] | None:
    """Restore the latest checkpoint in place; gives its step, log and best weights, or None where there is none.

    Raises `DataError` when the checkpoint belongs to another training run or is damaged.
    """
    found = sorted(path for path in folder.glob("step-*") if not path.name.endswith(".partial"))
    if not found:
        return None
    latest = found[-1]
    try:
        state = json.loads((latest / "state.json").read_text(encoding="utf-8"))
        weights = load_file(latest / "weights.safetensors")
        best = load_file(latest / "best.safetensors")
        moments = load_file(latest / "optimizer.safetensors")
        log = TrainingLog(**state["log"])
    except Exception as error:  # noqa: BLE001 - safetensors raises its own type for a cut file
        raise DataError(f"{latest}: damaged checkpoint ({error}); delete that folder to train anew") from None
    if log.fingerprint != fingerprint:
        raise DataError(f"{latest}: checkpoint of other settings, data or weights; delete that folder to train anew")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(placed_like(weights[name], parameter))
            prefix = f"{name}."
            optimizer.state[parameter] = {
                key.removeprefix(prefix): placed_like(value, parameter) if value.ndim else value
                for key, value in moments.items()
                if key.rpartition(".")[0] == name
            }
    return int(state["step"]), log, best
