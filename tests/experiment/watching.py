"""Watches the three places where a model works, and a program that dies of SIGKILL in one of them.

    python watching.py CONFIG OUT LOG PLACE COUNT

runs an experiment, or a grid of them, with a checkpoint after every step and parts of two scores, writes what the
model did to LOG, one line each, and kills itself at the COUNT-th time that PLACE ("call", "step" or "score") is
reached: behind the work of a call or a request and before it is stored, or before a training step.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from trsr.config import is_grid, load_experiment, load_grid, read_yaml
from trsr.experiment import run as run_module
from trsr.experiment import scoring
from trsr.experiment.grid import run_grid
from trsr.llm.local import LocalGenerator
from trsr.ranking import training
from trsr.ranking.ranker import Ranker

Tell = Callable[[str, list[str]], None]
_TESTS = Path(__file__).parents[1]


def watched(tell: Tell) -> Iterator[tuple[Any, str, Any]]:
    """(owner, name, replacement) that report work to `tell` as a place and what was worked on."""
    collect, step, score = LocalGenerator.collect, training._Loop._step, Ranker.score

    def watched_collect(self: Any) -> Any:
        made = collect(self)
        tell("call", [key for key, _ in made])
        return made

    def watched_step(self: Any, number: int) -> Any:
        tell("step", [f"{self.folder.name}/{number}"])
        return step(self, number)

    def watched_score(self: Any, prompts: Any) -> Any:
        tuned = self.summary_method if hasattr(self.model, "peft_config") else "untuned"
        kept = list(prompts)
        for prompt, scores in zip(kept, score(self, kept), strict=True):
            tell("score", [f"{tuned}/{sha256(repr(prompt).encode()).hexdigest()}"])
            yield scores

    yield LocalGenerator, "collect", watched_collect
    yield training._Loop, "_step", watched_step
    yield Ranker, "score", watched_score
    yield training, "_CHECKPOINT_SECONDS", -1.0
    yield scoring, "_PART", 2


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with what the models of this process do from here on."""
    done: list[str] = []
    for owner, name, replacement in list(watched(lambda place, what: done.extend(f"{place} {name}" for name in what))):
        monkeypatch.setattr(owner, name, replacement)
    return done


def run_until_killed(config: Path, out: Path, log: Path, place: str, count: int) -> list[str]:
    """Run this program until it has killed itself; gives what its models did."""
    command = [sys.executable, "-m", "experiment.watching", *map(str, (config, out, log, place, count))]
    paths = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    return log.read_text(encoding="utf-8").splitlines()


def main(config: str, out: str, log: str, place: str, count: str) -> None:
    left = int(count)

    def tell(where: str, what: list[str]) -> None:
        nonlocal left
        with Path(log).open("a", encoding="utf-8") as file:
            file.writelines(f"{where} {name}\n" for name in what)
        left -= where == place
        if where == place and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name, replacement in list(watched(tell)):
        setattr(owner, name, replacement)
    if is_grid(read_yaml(Path(config))):
        run_grid(load_grid(Path(config)), Path(out))
    else:
        run_module.run_experiment(load_experiment(Path(config)), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
