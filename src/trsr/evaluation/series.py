"""Geometry of charts with several series: a metric over steps or buckets, and quality against cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from trsr.evaluation.charts import BOTTOM, LETTER, TOP, WIDTH, Axis, Point, axis_over, shorten
from trsr.evaluation.evaluate import CHANCE
from trsr.evaluation.table import number

HEIGHT = 240
LEFT, RIGHT = 42, 14
LEGEND_ROW = 18
LONGEST_NAME = 56
STYLES = 6
"""Colours and shapes that can be told apart, as many as the style sheet has; the last, grey, is that of chance."""

DODGE = 5
"""Between the whiskers of neighbouring series in one bucket."""


Spot = tuple[float, float, str]


class Value(NamedTuple):
    """A value and its interval, null where there is none."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> str:
        """`[low, high]`, empty without an interval."""
        return "" if self.low is None or self.high is None else f"[{number(self.low)}, {number(self.high)}]"

    @property
    def text(self) -> str:
        """`mean [low, high]`, as in tables."""
        return f"{number(self.mean)} {self.bounds}".strip()


@dataclass(frozen=True)
class SeriesPoint:
    """A point with its whisker, which is as long as the interval; `text` says all of it."""

    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Series:
    """A line of points in one style (0 to `STYLES` - 1), and the height of its row in the legend."""

    name: str
    label: str
    style: int
    points: list[SeriesPoint]
    legend: float


@dataclass(frozen=True)
class SeriesPlot:
    """Several series over one axis: buckets side by side or training steps."""

    macro: ClassVar[str] = "series_plot"
    title: str
    x_title: str
    width: int
    height: float
    left: float
    right: float
    bottom: float
    y: Axis
    ticks: list[tuple[float, float, str]]
    series: list[Series]


@dataclass(frozen=True)
class Place:
    """A model in a scatter plot; its label stands at `spot`, (x, y, anchor), or nowhere where there is no room."""

    name: str
    label: str
    text: str
    x: float
    y: float
    low: float
    high: float
    spot: Spot | None


@dataclass(frozen=True)
class ScatterPlot:
    """Quality, with its interval, against a cost."""

    macro: ClassVar[str] = "scatter_plot"
    title: str
    x_title: str
    width: int
    height: int
    left: float
    right: float
    bottom: float
    y: Axis
    ticks: list[tuple[float, str]]
    places: list[Place]


def bucket_plot(
    title: str, x_title: str, buckets: Sequence[str], series: Sequence[tuple[str, Sequence[Value | None]]]
) -> SeriesPlot:
    """A point with its whisker for every series and bucket; at most `STYLES` series."""
    width = (WIDTH - LEFT - RIGHT) / len(buckets)
    middles = [LEFT + (place + 0.5) * width for place in range(len(buckets))]
    step = min(DODGE, width / (len(series) + 1))
    lines = [
        (
            name,
            [
                (middle + (place - (len(series) - 1) / 2) * step, value, f"{bucket}: {value.text}")
                for middle, value, bucket in zip(middles, values, buckets, strict=True)
                if value is not None
            ],
        )
        for place, (name, values) in enumerate(series)
    ]
    return _plot(title, x_title, _bucket_ticks(buckets, middles, width), lines, from_zero=True)


def step_plot(title: str, series: Sequence[tuple[str, Sequence[Point]]]) -> SeriesPlot:
    """A line over training steps for every series; at most `STYLES` series."""
    x = Axis(0, max(5.0, *(step for _, points in series for step, _ in points)), LEFT, WIDTH - RIGHT)
    ticks = [(place, 0.0, f"{step:,.0f}") for place, step in x.ticks]
    lines = [
        (name, [(x(step), Value(value), f"{number(value)} at step {step:,.0f}") for step, value in points])
        for name, points in series
    ]
    return _plot(title, "training step", ticks, lines, from_zero=False)


def scatter_plot(title: str, x_title: str, points: Sequence[tuple[str, float, Value]]) -> ScatterPlot:
    """Every (model, cost, quality); the axis of costs, all above 0, is logarithmic where they are ten times apart."""
    spots, ticks = _cost_axis([cost for _, cost, _ in points])
    values = [value for _, _, value in points]
    y = axis_over(_heights(values, from_zero=True), HEIGHT - BOTTOM, TOP + 8)
    dots = [(spot, y(value.mean)) for spot, (_, _, value) in zip(spots, points, strict=True)]
    labels = [shorten(name) for name, _, _ in points]
    places = [
        Place(name, label, f"{cost:.3g} {x_title}, {value.text}", *dot, *_whisker(value, y), spot)
        for (name, cost, value), label, dot, spot in zip(points, labels, dots, _spots(labels, dots), strict=True)
    ]
    return ScatterPlot(title, x_title, WIDTH, HEIGHT + 16, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, y, ticks, places)


def _cost_axis(costs: Sequence[float]) -> tuple[list[float], list[tuple[float, str]]]:
    """Coordinates of the costs, and the ticks of their axis."""
    if max(costs) < 10 * min(costs):
        axis = axis_over([0.0, *costs], LEFT, WIDTH - RIGHT)
        return [axis(cost) for cost in costs], [(x, f"{value:,g}") for x, value in axis.ticks]
    low, high = math.floor(math.log10(min(costs)) + 1e-9), math.ceil(math.log10(max(costs)) - 1e-9)
    axis = Axis(low, high, LEFT, WIDTH - RIGHT)
    decades = range(low, high + 1)[:: math.ceil((high - low + 1) / 6)]
    return [axis(math.log10(cost)) for cost in costs], [(axis(power), f"{10.0**power:,g}") for power in decades]


def _plot(
    title: str,
    x_title: str,
    ticks: list[tuple[float, float, str]],
    lines: Sequence[tuple[str, Sequence[tuple[float, Value, str]]]],
    *,
    from_zero: bool,
) -> SeriesPlot:
    bottom = HEIGHT - BOTTOM
    y = axis_over(_heights([value for _, points in lines for _, value, _ in points], from_zero), bottom, TOP + 4)
    below = bottom + 34 + max(drop for _, drop, _ in ticks)
    styles = iter(range(STYLES))
    series = [
        Series(
            name,
            shorten(name, LONGEST_NAME),
            STYLES - 1 if name == CHANCE else next(styles),
            [SeriesPoint(round(x, 2), y(value.mean), *_whisker(value, y), text) for x, value, text in points],
            below + place * LEGEND_ROW,
        )
        for place, (name, points) in enumerate(lines, 1)
    ]
    height = below + (len(lines) + 0.7) * LEGEND_ROW
    return SeriesPlot(title, x_title, WIDTH, height, LEFT, WIDTH - RIGHT, bottom, y, ticks, series)


def _heights(values: Sequence[Value], from_zero: bool) -> list[float]:
    ends = [end for value in values for end in (value.mean, value.low, value.high) if end is not None]
    return [0.0, *ends] if from_zero else ends


def _whisker(value: Value, y: Axis) -> tuple[float, float]:
    low, high = value.low, value.high
    return (y(value.mean), y(value.mean)) if low is None or high is None else (y(low), y(high))


def _bucket_ticks(buckets: Sequence[str], middles: Sequence[float], width: float) -> list[tuple[float, float, str]]:
    """(x, drop below the first line, text); every other label stands a line lower where they would touch."""
    rows = 2 if any(LETTER * (len(bucket) + 1) > width for bucket in buckets) else 1
    room = max(3, int(rows * width / LETTER) - 1)
    return [
        (round(middle, 2), 13.0 * (place % rows), shorten(bucket, room))
        for place, (bucket, middle) in enumerate(zip(buckets, middles, strict=True))
    ]


def _spots(labels: Sequence[str], dots: Sequence[Point]) -> list[Spot | None]:
    """Where each label stands so that it covers no dot and no other label, if there is such a place."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    spots = list[Spot | None]()
    for label, (x, y) in zip(labels, dots, strict=True):
        size = LETTER * len(label)
        beside: list[Spot] = [
            (x + 8, y + 4, "start"),
            (x - 8, y + 4, "end"),
            (x, y - 9, "middle"),
            (x, y + 18, "middle"),
        ]
        beside += [(x + side, y + drop, end) for drop in (-9, 18) for side, end in ((7, "start"), (-7, "end"))]
        for left, base, anchor in beside:
            start = {"start": left, "end": left - size, "middle": left - size / 2}[anchor]
            box = (start, base - 10, start + size, base + 3)
            if start >= LEFT and box[2] <= WIDTH - 2 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                spots.append((left, base, anchor))
                break
        else:
            spots.append(None)
    return spots


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
