"""Geometry of charts that show how values are spread: columns, and the share of a whole that the largest have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from trsr.evaluation.charts import BOTTOM, CURVE_RIGHT, LETTER, TOP, WIDTH, Axis, Point, axis_over

HEIGHT = 190
SPACE = 8
"""Between the labels under columns."""

GAP = 0.12
"""Between columns, as a share of what each has room for."""


@dataclass(frozen=True)
class Column:
    """One column: its whole label and count as text, and what is `shown` under it, where there is room."""

    label: str
    text: str
    x: float
    y: float
    width: float
    height: float
    middle: float
    shown: str


@dataclass(frozen=True)
class BarPlot:
    """Counts side by side, and the ticks of their axis as (coordinate, text)."""

    macro: ClassVar[str] = "bar_plot"
    title: str
    width: int
    height: int
    left: float
    right: float
    ticks: list[tuple[float, str]]
    bars: list[Column]


@dataclass(frozen=True)
class Mark:
    """A point of a curve that is told in words."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class SharePlot:
    """Which share of a whole (y, percent) the largest parts (x, percent) have."""

    macro: ClassVar[str] = "share_plot"
    title: str
    width: int
    height: int
    x: Axis
    y: Axis
    points: list[Point]
    marks: list[Mark]


def bar_plot(title: str, counts: Sequence[tuple[str, int]]) -> BarPlot:
    """A column for every (label, count); ranges such as 20–49 are shown by their beginnings where room is short."""
    axis = axis_over([0, max(1, *(count for _, count in counts))], HEIGHT - BOTTOM, TOP + 8)
    ticks = [(y, short_number(value)) for y, value in axis.ticks if value == int(value)]
    left = 14 + LETTER * max(len(text) for _, text in ticks)
    right = WIDTH - CURVE_RIGHT
    step = (right - left) / len(counts)
    middles = [round(left + (place + 0.5) * step, 2) for place in range(len(counts))]
    shown = _fitting([label for label, _ in counts], middles)
    if not all(shown):
        shown = _fitting([label[: label.find("–") + 1] or label for label, _ in counts], middles)
    bars = [
        Column(
            label=label,
            text=f"{count:,}",
            x=round(middle - step * (1 - GAP) / 2, 2),
            y=axis(count),
            width=round(step * (1 - GAP), 2),
            height=round(axis.start - axis(count), 2),
            middle=middle,
            shown=tick,
        )
        for (label, count), middle, tick in zip(counts, middles, shown, strict=True)
    ]
    return BarPlot(title, WIDTH, HEIGHT, left, right, ticks, bars)


def _fitting(labels: Sequence[str], middles: Sequence[float]) -> list[str]:
    """The labels, "" in place of those that would touch the one before or leave the chart."""
    free, shown = 0.0, list[str]()
    for label, middle in zip(labels, middles, strict=True):
        half = LETTER * len(label) / 2
        fits = middle - half > free and middle + half < WIDTH
        free = middle + half + SPACE if fits else free
        shown.append(label if fits else "")
    return shown


def share_plot(title: str, shares: Sequence[Point], marks: Sequence[tuple[float, float, str]]) -> SharePlot:
    """The curve through (share, share) points from 0 to 1, with marks of the same kind."""
    x = Axis(0, 100, 48, WIDTH - CURVE_RIGHT)
    y = Axis(0, 100, HEIGHT - BOTTOM, TOP + 8)
    points = [(x(100 * part), y(100 * share)) for part, share in shares]
    return SharePlot(
        title, WIDTH, HEIGHT, x, y, points, [Mark(x(100 * part), y(100 * share), text) for part, share, text in marks]
    )


def short_number(value: float) -> str:
    """A whole number in few letters: 950, 1.2k, 13M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"
