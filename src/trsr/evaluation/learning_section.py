"""How training went: validation over steps, beside the loss that was trained on."""

from collections.abc import Mapping
from itertools import zip_longest

from trsr.evaluation.charts import CurvePlot, loss_curves, points_of, recall_curves
from trsr.evaluation.run_files import TrainingLog
from trsr.evaluation.run_groups import BETWEEN, RunGroup
from trsr.evaluation.sections import Cell, Figure, Section, Table, TableRow
from trsr.evaluation.series import STYLES, step_plot
from trsr.evaluation.table import UNKNOWN, number

KEPT = "Step 0 is the untuned model"


def learning_section(group: RunGroup) -> Section | None:
    """Charts of every model for one run; for several runs one chart per model, with a line for every run."""
    logs = {(model, label): log for label, run in group.labelled for model, log in run.training.items()}
    rows = [row for (model, label), log in logs.items() for row in _rows(_name(model, label), log)]
    if len(group.runs) == 1:
        figures = _curves(group.runs[0].training)
        note = f"Dots are validation, the faint line is the training loss. {KEPT}; the second mark is what was kept."
    else:
        figures = [
            figure
            for model in dict.fromkeys(model for model, _ in logs)
            for figure in _overlaid(model, {label: log for (name, label), log in logs.items() if name == model})
        ]
        note = f"Recall on validation. {KEPT}."
    if not figures and not rows:
        return None
    caption = "Validation over training; the step that was kept is bold"
    table = Table(["model", "step", "loss", "recall"], rows, caption=caption, folded=True)
    return Section("Training", note, tables=[table] if rows else [], figures=figures)


def _curves(logs: dict[str, TrainingLog]) -> list[Figure]:
    pairs = zip_longest(recall_curves(logs), loss_curves(logs))
    plots: list[CurvePlot] = [plot for pair in pairs for plot in pair if plot]
    return [Figure(f"{plot.model}: {plot.measure}", plot) for plot in plots]


def _overlaid(model: str, logs: Mapping[str, TrainingLog]) -> list[Figure]:
    """The lines that end best, as many as can be told apart."""
    lines = {label: points_of((e.step, e.valid_recall) for e in log.evaluations) for label, log in logs.items()}
    found = sorted((line for line in lines.items() if line[1]), key=lambda line: -max(value for _, value in line[1]))
    if not found:
        return []
    left_out = f", the best {STYLES} of {len(found)} runs" if len(found) > STYLES else ""
    title = f"{model}: validation recall{left_out}"
    return [Figure(title, step_plot(title, found[:STYLES]))]


def _rows(name: str, log: TrainingLog) -> list[TableRow]:
    return [
        [
            name,
            Cell(f"{entry.step:,}", tone="best" if entry.step == log.best_step else ""),
            UNKNOWN if entry.valid_loss is None else f"{entry.valid_loss:.3f}",
            UNKNOWN if entry.valid_recall is None else number(entry.valid_recall),
        ]
        for entry in log.evaluations
    ]


def _name(model: str, label: str) -> str:
    return f"{model}{BETWEEN}{label}" if label else model
