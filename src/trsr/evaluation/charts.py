"""Geometry of the report's charts: numbers in, SVG coordinates out; the template draws them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Literal

from trsr.evaluation.evaluate import Metrics
from trsr.evaluation.run_files import TrainingLog
from trsr.evaluation.table import model_rows, number, with_bounds

WIDTH = 400
LETTER = 6.4
LONGEST_LABEL, LONGEST_LINE = 22, 58
ROW, LINE = 26, 14
TOP, BOTTOM = 8, 26
CURVE_HEIGHT = 180
CURVE_LEFT, CURVE_RIGHT = 38, 14
POINTS_OF_A_LINE = 200

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A linear axis from data to SVG units, with its round tick values."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Coordinate of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    @property
    def ticks(self) -> list[Point]:
        """(coordinate, value) of the ticks: multiples of the tick step inside the axis."""
        step = tick_step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self(i * step), round(i * step, 10)) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Whisker:
    """One model in an interval plot; `label_y` is the base line of its label."""

    model: str
    label: str
    text: str
    mean: float
    low: float
    high: float
    y: float
    label_y: float


@dataclass(frozen=True)
class IntervalPlot:
    """Dots with whiskers for one metric, one row per model; labels end at `label_x`, or begin there (`anchor`)."""

    macro: ClassVar[str] = "interval_plot"
    metric: str
    width: int
    height: float
    label_x: float
    anchor: Literal["start", "end"]
    axis: Axis
    rows: list[Whisker]


@dataclass(frozen=True)
class Dot:
    """A validation value; the first and the best carry a text, placed where the line does not run."""

    x: float
    y: float
    text: str
    text_y: float


@dataclass(frozen=True)
class CurvePlot:
    """One measure of one model over training steps: a faint line of training loss, dots from validation."""

    macro: ClassVar[str] = "curve_plot"
    model: str
    measure: str
    width: int
    height: int
    x: Axis
    y: Axis
    faint: list[Point]
    dots: list[Dot]


def tick_step(span: float) -> float:
    """Round step (1, 2 or 5 times a power of ten) that cuts a span into three to seven parts."""
    power = 10.0 ** math.floor(math.log10(span / 3))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= span / 3 * (1 + 1e-9))


def axis_over(values: Sequence[float], start: float, end: float) -> Axis:
    """Axis that holds all values and ends on round numbers."""
    low, high = min(values), max(values)
    if high <= low:
        high = low + (abs(low) or 1)
    step = tick_step(high - low)
    return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end)


def interval_plot(metrics: Metrics, metric: str) -> IntervalPlot:
    """Place every model that has the metric, chance first; long names stand above their whiskers."""
    models = [model for model in model_rows(metrics) if metric in metrics[model]]
    above = max(len(model) for model in models) > LONGEST_LABEL
    labels = {model: shorten(model, LONGEST_LINE if above else LONGEST_LABEL) for model in models}
    left = 12.0 if above else 12 + LETTER * max(len(label) for label in labels.values())
    row, drop = (ROW + LINE, LINE / 2) if above else (ROW, 0.0)
    axis = axis_over([0.0, *(metrics[model][metric]["high"] for model in models)], left, WIDTH - 16)
    rows = []
    for index, model in enumerate(models):
        interval = metrics[model][metric]
        low, mean, high = (axis(interval[name]) for name in ("low", "mean", "high"))
        y = TOP + row * (index + 0.5) + drop
        label_y = y - LINE + 2 if above else y + 4
        rows.append(Whisker(model, labels[model], with_bounds(interval), mean, low, high, y, label_y))
    height = TOP + row * len(rows) + BOTTOM
    return IntervalPlot(metric, WIDTH, height, left if above else left - 8, "start" if above else "end", axis, rows)


def recall_curves(logs: dict[str, TrainingLog]) -> list[CurvePlot]:
    """Validation recall per model on one shared scale, the untuned model at step 0."""
    valid = {model: points_of((e.step, e.valid_recall) for e in log.evaluations) for model, log in logs.items()}
    return _curves("validation recall", logs, {model: [] for model in logs}, valid)


def loss_curves(logs: dict[str, TrainingLog]) -> list[CurvePlot]:
    """Training loss (a faint line, averaged where steps are many) and validation loss per model."""
    training = {model: _thinned(points_of((s.step, s.loss) for s in log.steps)) for model, log in logs.items()}
    valid = {model: points_of((e.step, e.valid_loss) for e in log.evaluations) for model, log in logs.items()}
    return _curves("loss", logs, training, valid)


def _curves(
    measure: str, logs: dict[str, TrainingLog], faint: dict[str, list[Point]], valid: dict[str, list[Point]]
) -> list[CurvePlot]:
    every = [point for lines in (faint, valid) for line in lines.values() for point in line]
    if not every:
        return []
    x = Axis(0, max(5.0, *(step for step, _ in every)), CURVE_LEFT, WIDTH - CURVE_RIGHT)
    y = axis_over([value for _, value in every], CURVE_HEIGHT - BOTTOM - 14, TOP + 12)
    plots = []
    for model, log in logs.items():
        marks = {step: f"{number(value)} at step {step:,.0f}" for step, value in valid[model] if step == log.best_step}
        marks |= {step: f"{number(value)} untuned" for step, value in valid[model] if step == 0}
        plots.append(
            CurvePlot(
                model=model,
                measure=measure,
                width=WIDTH,
                height=CURVE_HEIGHT,
                x=x,
                y=y,
                faint=[(x(step), y(value)) for step, value in faint[model]],
                dots=_dots([(x(step), y(value), marks.get(step, "")) for step, value in valid[model]]),
            )
        )
    return plots


def _dots(places: list[tuple[float, float, str]]) -> list[Dot]:
    """The text of the first dot keeps clear of the line after it, any other of the line before it."""
    neighbours = [places[min(1, len(places) - 1)], *places[:-1]] if places else []
    return [
        Dot(x, y, text, y + 17 if neighbour[1] < y else y - 9)
        for (x, y, text), neighbour in zip(places, neighbours, strict=True)
    ]


def points_of(pairs: Iterable[tuple[int, float | None]]) -> list[Point]:
    """The pairs that can be drawn, in the order of steps; a diverged training leaves NaN behind."""
    return sorted((float(step), value) for step, value in pairs if value is not None and math.isfinite(value))


def _thinned(points: list[Point]) -> list[Point]:
    """At most `POINTS_OF_A_LINE` points, each the mean of as many neighbours."""
    size = math.ceil(len(points) / POINTS_OF_A_LINE)
    groups = [points[start : start + size] for start in range(0, len(points), size or 1)]
    return [(fmean(step for step, _ in group), fmean(value for _, value in group)) for group in groups]


def shorten(text: str, length: int = LONGEST_LABEL) -> str:
    """The text, its end cut where it is longer than a label may be."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
