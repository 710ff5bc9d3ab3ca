"""The runs of a report: run folders and grids of them, with one sentence on each that cannot be shown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from trsr.config import RECORD
from trsr.errors import DataError, TrsrError
from trsr.evaluation.run_files import RunFiles, load_json, read_run


class GridCell(BaseModel):
    """One cell of `grid.json`; `name` is its run folder."""

    name: str
    overrides: dict[str, Any] = {}
    seed: int | None = None
    state: Literal["done", "failed", "waiting"]
    error: str | None = None


class Grid(BaseModel):
    """`grid.json`: an experiment with some settings varied."""

    name: str
    cells: list[GridCell]


@dataclass(frozen=True)
class LeftOut:
    """A run that is in no table, and why; `settings` are what a grid would have varied in it."""

    place: str
    state: Literal["failed", "waiting", "unreadable"]
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What a report is made of; `name` is that of the one run or grid, or all of them."""

    name: str
    runs: Sequence[RunFiles]
    left_out: Sequence[LeftOut]


def collect_runs(places: Iterable[Path]) -> Collection:
    """Read run folders and grid folders, each run once.

    Raises the `TrsrError` of the first run if none at all can be read, and `DataError` for a grid that is none.
    """
    runs, left_out, names = dict[Path, RunFiles](), list[LeftOut](), list[str]()
    first: TrsrError | None = None
    for place in places:
        names.append(place.resolve().name)
        cells = _cells(place) if (place / RECORD).exists() else [(place, None)]
        for folder, cell in cells:
            if cell is not None and cell.state != "done":
                reason = cell.error or ("no reason is given" if cell.state == "failed" else "not run yet")
                left_out.append(LeftOut(folder.name, cell.state, reason, _settings(cell)))
            elif folder.resolve() not in runs:
                try:
                    runs[folder.resolve()] = read_run(folder)
                except TrsrError as error:
                    first = first or error
                    left_out.append(LeftOut(str(folder), "unreadable", str(error)))
    if not runs:
        raise first or DataError(f"{names[0]}: no cell of this grid is done; run it with `trsr run`")
    return Collection(", ".join(dict.fromkeys(names)), list(runs.values()), left_out)


def _cells(place: Path) -> list[tuple[Path, GridCell | None]]:
    path = place / RECORD
    grid = load_json(path, TypeAdapter(Grid), "write this file again with `trsr run`")
    outside = [cell.name for cell in grid.cells if Path(cell.name).name != cell.name]
    if outside:
        raise DataError(f"{path}: cell {outside[0]!r} is no folder beside this file; write it again with `trsr run`")
    return [(place / cell.name, cell) for cell in grid.cells]


def _settings(cell: GridCell) -> dict[str, Any]:
    return cell.overrides | ({} if cell.seed is None else {"seed": cell.seed})
