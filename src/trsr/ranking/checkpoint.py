"""Training state on disk: adapter and optimiser tensors as safetensors, the rest as JSON; no pickle.

A checkpoint folder is written under a temporary name and renamed, so it is whole or absent. Randomness needs no
state: the order of examples and the dropout masks are functions of the seed and the step.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trsr.errors import DataError
from trsr.files import whole_folder


@dataclass
class TrainingLog:
    """What a training run did: loss per step, evaluations, and the best step by validation recall."""

    fingerprint: str
    steps: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def save_checkpoint(
    folder: Path,
    step: int,
    log: TrainingLog,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> None:
    """Write the checkpoint of `step` into `folder` and remove the ones before it; `ConfigError` if the disk is full."""
    name = f"step-{step:07d}"
    state = {
        f"{name}.{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    with whole_folder(folder / name) as work:
        save_file(_copied(parameters), work / "adapter.safetensors")
        save_file(_copied(best), work / "best.safetensors")
        save_file(_copied(state), work / "optimizer.safetensors")
        (work / "state.json").write_text(json.dumps({"step": step, "log": log.as_dict()}), encoding="utf-8")
    for old in (*folder.glob("step-*"), *folder.glob(".step-*.partial")):
        if old.name != name:
            shutil.rmtree(old)


def load_checkpoint(
    folder: Path, fingerprint: str, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[int, TrainingLog, dict[str, Tensor]] | None:
    """Restore the latest checkpoint in place; gives its step, log and best adapter, or None where there is none.

    Raises `DataError` when the checkpoint belongs to another training run or is damaged.
    """
    found = sorted(path for path in folder.glob("step-*") if not path.name.endswith(".partial"))
    if not found:
        return None
    latest = found[-1]
    try:
        state = json.loads((latest / "state.json").read_text(encoding="utf-8"))
        adapter = load_file(latest / "adapter.safetensors")
        best = load_file(latest / "best.safetensors")
        moments = load_file(latest / "optimizer.safetensors")
        log = TrainingLog(**state["log"])
    except Exception as error:  # noqa: BLE001 - safetensors raises its own type for a cut file
        raise DataError(f"{latest}: damaged checkpoint ({error}); delete that folder to train anew") from None
    if log.fingerprint != fingerprint:
        raise DataError(f"{latest}: checkpoint of other settings, data or weights; delete that folder to train anew")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])
            prefix = f"{name}."
            optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device) if value.ndim else value
                for key, value in moments.items()
                if key.rpartition(".")[0] == name
            }
    return int(state["step"]), log, best


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
