"""What `trsr run` prints of a grid: every cell with its main metric, or what the cells would share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from trsr.cli.output import make_console, print_json
from trsr.config import RECORD, TUNED, UNTUNED
from trsr.evaluation.comparisons import ORACLE
from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.protocol import describe_protocol
from trsr.evaluation.table import UNKNOWN, metric_columns, number
from trsr.experiment.grid import CellRecord, Plan

_BEST = "best without an LLM"
_NO_BASELINE = (CHANCE, ORACLE, UNTUNED)


def show_grid(folder: Path, records: Sequence[CellRecord], as_json: bool) -> None:
    """The table of done cells, and a sentence for each that failed; or all of it as JSON."""
    metrics: dict[str, Metrics] = {
        record.name: json.loads((folder / record.name / "metrics.json").read_text(encoding="utf-8"))
        for record in records
        if record.state == "done"
    }
    if as_json:
        print_json({"grid": str(folder), "cells": [asdict(record) for record in records], "metrics": metrics})
        return
    if metrics:
        mains = {name: metric_columns(of_cell)[0] for name, of_cell in metrics.items()}  # not the best looking ones
        make_console().print(_table(records, metrics, mains))
        typer.echo(_caption(records, mains))
    for record in records:
        if record.state == "failed":
            typer.echo(f"failed: {record.name}: {record.error}")
    typer.echo(f"grid: {folder / RECORD}")


def show_plan(records: Sequence[CellRecord], plans: Sequence[Plan], as_json: bool) -> None:
    """What every cell makes, and what it takes from another."""
    if as_json:
        print_json([asdict(record) | asdict(plan) for record, plan in zip(records, plans, strict=True)])
        return
    left = [plan for record, plan in zip(records, plans, strict=True) if record.state != "done"]
    for record, plan in zip(records, plans, strict=True):
        given = ", ".join(f"{key} {json.dumps(value)}" for key, value in record.overrides.items())
        typer.echo(f"{record.name} ({record.state}){': ' if given else ''}{given}")
        if record.state != "done":
            _echo_plan(plan)
    made = sum(model.startswith(TUNED) for plan in left for model in plan.makes)
    taken = sum(model.startswith(TUNED) for plan in left for model in plan.takes)
    typer.echo(f"{len(left)} cells to run; {made} rankers to tune, where separate runs would tune {made + taken}")


def _echo_plan(plan: Plan) -> None:
    if plan.makes:
        typer.echo(f"  makes: {', '.join(plan.makes)}")
    for source in dict.fromkeys(plan.takes.values()):
        typer.echo(f"  takes from {source}: {', '.join(model for model in plan.takes if plan.takes[model] == source)}")


def _table(records: Sequence[CellRecord], metrics: Mapping[str, Metrics], mains: Mapping[str, str]) -> Table:
    """Groups of cells as rows; chance, the best without an LLM and every tuned ranker as columns."""
    values = {name: _values(of_cell, mains[name]) for name, of_cell in metrics.items()}
    columns = list(dict.fromkeys(model for of_cell in values.values() for model in of_cell))
    columns.sort(key=lambda model: model.startswith(TUNED))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("cell", overflow="fold")
    for model in columns:
        table.add_column(model.removeprefix(TUNED), justify="right")
    seeds = _over_seeds(records)
    groups: dict[str, list[str]] = {}
    for record in records:
        if record.name in values:
            groups.setdefault(record.group, []).append(record.name)
    for group, names in groups.items():
        other = "" if len(set(mains.values())) == 1 else f" ({mains[names[0]]})"
        runs = f", {len(names)} seed{'s' if len(names) > 1 else ''}" if seeds else ""
        found = [[values[name][model] for name in names if model in values[name]] for model in columns]
        shown = [_shown(cells, seeds) for cells in found]
        table.add_row(Text(f"{group}{other}{runs}"), *shown)
    return table


def _caption(records: Sequence[CellRecord], mains: Mapping[str, str]) -> str:
    """What the numbers of the table are."""
    known = set(mains.values())
    name, _, protocol = next(iter(known)).partition("/")
    against = f" with {describe_protocol(protocol)} per example ({protocol})" if protocol else ""
    what = f"{name}{against}" if len(known) == 1 else "the first metric of each cell, which cannot be compared"
    over = "standard deviation over seeds" if _over_seeds(records) else "half of the 95 % interval over users"
    return f"{what}: mean ± {over}"


def _over_seeds(records: Sequence[CellRecord]) -> bool:
    return any(record.seed is not None for record in records)


def _values(metrics: Metrics, main: str) -> dict[str, dict[str, float]]:
    """The intervals of the main metric, with the best model without a tuned ranker for all of those."""
    found = {model: values[main] for model, values in metrics.items() if main in values}
    baselines = [model for model in found if model not in _NO_BASELINE and not model.startswith(TUNED)]
    best = {_BEST: max((found[model] for model in baselines), key=lambda value: value["mean"])} if baselines else {}
    return {model: value for model, value in found.items() if model not in (*baselines, ORACLE)} | best


def _shown(cells: Sequence[dict[str, float]], seeds: bool) -> str:
    if not cells:
        return UNKNOWN
    means = [cell["mean"] for cell in cells]
    if not seeds:
        half = (cells[0]["high"] - cells[0]["low"]) / 2
        return f"{number(means[0])} ±{number(half)}" if half else number(means[0])
    spread = f" ±{number(stdev(means))}" if len(means) > 1 and len(set(means)) > 1 else ""
    return f"{number(fmean(means))}{spread}"
