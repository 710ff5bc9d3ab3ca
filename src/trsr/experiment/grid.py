"""The runs of a grid, one after another in one folder: what is done stays, what fails is noted, the others go on."""

import gc
import json
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from trsr.config import RECORD, Cell, Grid
from trsr.errors import ConfigError, DataError, ModelError, TrsrError
from trsr.experiment.run import run_experiment
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.sharing import Inputs, Sharing, key_of
from trsr.files import held, write_text
from trsr.llm.memory import RAN_OUT, ran_out, release
from trsr.llm.weights import pick_device
from trsr.progress import say
from trsr.ranking.processes import refuse_several

State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class CellRecord:
    """One entry of `cells` in `grid.json`: a `Cell` without its settings, and how far it is."""

    name: str
    group: str
    overrides: dict[str, Any]
    seed: int | None
    state: State = "waiting"
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a cell that is not done makes itself, and what it takes, by model, from which other cell."""

    makes: Sequence[str]
    takes: dict[str, str]


@dataclass(frozen=True)
class GridFolder:
    """The folder of a grid: `grid.json`, the shared store, and a run folder for every cell."""

    path: Path
    grid: Grid

    @classmethod
    def open(cls, path: Path, grid: Grid) -> "GridFolder":
        """The folder of a grid, which this does not make.

        Raises `ConfigError` where it is a run's folder, or holds a cell of the same name with other settings.
        """
        if (path / "config.yaml").exists():
            raise ConfigError(f"{path}: holds a run, not a grid; give another --out")
        folder = cls(path, grid)
        for cell in grid.cells:
            if folder.of(cell).config.exists():
                RunFolder.open(folder.of(cell).path, cell.config)
        return folder

    def of(self, cell: Cell) -> RunFolder:
        """The run folder of a cell; missing before its run begins."""
        return RunFolder(self.path / cell.name)

    def records(self) -> list[CellRecord]:
        """Every cell of the grid with its state: what is done is told by its folder, what failed by `grid.json`."""
        failed = {record.name: record for record in self._noted() if record.state == "failed"}
        records = []
        for cell in self.grid.cells:
            record = CellRecord(cell.name, cell.group, dict(cell.overrides), cell.seed)
            if is_done(self.of(cell)):
                record = replace(record, state="done")
            elif cell.name in failed:
                record = replace(record, state="failed", error=failed[cell.name].error)
            records.append(record)
        return records

    def write(self, records: Sequence[CellRecord]) -> None:
        """Write `grid.json`."""
        content = {
            "name": self.grid.name,
            "base": self.grid.base,
            "varied": self.grid.varied,
            "seeds": self.grid.seeds,
            "cells": [asdict(record) for record in records],
        }
        write_text(self.path / RECORD, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def sharing(self, cell: Cell) -> Sharing:
        """What a cell has in common with the others, and with those that the file called otherwise before."""
        names = [other.name for other in self.grid.cells]
        names += sorted(place.parent.name for place in self.path.glob("*/manifest.json"))
        others = [RunFolder(self.path / name) for name in dict.fromkeys(names) if name != cell.name]
        return Sharing(self.path / "summaries.sqlite", others)

    def _noted(self) -> list[CellRecord]:
        path = self.path / RECORD
        if not path.exists():
            return []
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))["cells"]
            return TypeAdapter(list[CellRecord]).validate_python(noted)
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            raise DataError(f"{path}: not the record of a grid; delete it and run again, what is done stays") from None


def is_done(folder: RunFolder) -> bool:
    """Whether a run went to its end, which is its report."""
    return (folder.path / "report.html").exists() and "finished" in folder.read_manifest()


def run_grid(grid: Grid, out: Path) -> tuple[list[CellRecord], int]:
    """Run or continue the cells of a grid in folder `out`; gives their records and the exit code of the first failure.

    Done cells are left alone, failed ones are tried again. A cell that fails is noted with its sentence, and the next
    one is run; Ctrl-C ends the whole grid. Raises `ConfigError` where `out` holds something else, or another
    process is at work there.
    """
    refuse_several("trsr run")
    with held(out):
        folder = GridFolder.open(out, grid)
        records, code = folder.records(), 0
        folder.write(records)
        for place, cell in enumerate(grid.cells):
            if records[place].state == "done":
                continue
            say(f"\ncell {place + 1} of {len(records)}: {cell.name}")
            failure = _run_cell(folder, cell)
            if failure is None:
                records[place] = replace(records[place], state="done", error=None)
            else:
                say(f"{cell.name} failed: {failure.sentence}")
                records[place] = replace(records[place], state="failed", error=failure.sentence)
                code = code or failure.exit_code
            folder.write(records)
            gc.collect()  # the models of this cell, before the next one loads its own
            release(pick_device())
        return records, code


def plan_grid(grid: Grid) -> list[Plan]:
    """What every cell would make and take, as far as the settings tell; a model failed before is made again."""
    made = dict[str, str]()
    plans = []
    for cell in grid.cells:
        inputs = Inputs.planned(cell.config)
        keys = {model: key_of(model, cell.config, inputs) for model in cell.config.models}
        takes = {model: made[key] for model, key in keys.items() if key in made}
        plans.append(Plan([model for model in keys if model not in takes], takes))
        made |= {key: cell.name for key in keys.values() if key not in made}
    return plans


@dataclass(frozen=True)
class _Failure:
    sentence: str
    exit_code: int


def _run_cell(folder: GridFolder, cell: Cell) -> _Failure | None:
    """Run a cell; gives what went wrong, if anything did."""
    trouble = folder.of(cell).path / "error.txt"
    trouble.unlink(missing_ok=True)
    try:
        run_experiment(cell.config, folder.of(cell).path, folder.sharing(cell))
    except TrsrError as error:
        return _Failure(" ".join(str(error).splitlines()), error.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cells are not the worse for it
        if ran_out(error):
            return _Failure(RAN_OUT, ModelError.exit_code)
        write_text(trouble, traceback.format_exc())
        fact = " ".join(f"{type(error).__name__}: {error}".splitlines())
        return _Failure(f"{fact}; most likely a bug of trsr, see {trouble}", TrsrError.exit_code)
    return None
