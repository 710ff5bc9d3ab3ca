"""The results as one SVG file: seconds over candidates and over the prefix, both axes logarithmic.

Written by hand and not by a plotting library: it needs no extra, follows the reader's colour scheme and looks like
the charts of the report.
"""

import math
from collections.abc import Sequence
from html import escape

from trsr.benchmarks.running import Result
from trsr.evaluation.charts import Axis

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 320, 46, 104, 34, 40
_LABEL_GAP, _TICK_GAP = 13, 26
_STYLE = """
svg { font: 12px system-ui, sans-serif; background: var(--paper);
  --paper: #fff; --ink: #1c2126; --soft: #5b6570; --line: #dfe3e7; --accent: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --line: #30363d; --accent: #7db4f0; } }
text { fill: var(--soft); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.title { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); } polyline { fill: none; stroke: var(--soft); stroke-width: 1.25; }
circle { fill: var(--soft); } .trsr polyline, .trsr_returning polyline { stroke: var(--accent); stroke-width: 2; }
.trsr circle, .trsr_returning circle { fill: var(--accent); } .trsr text, .trsr_returning text { fill: var(--accent); }
.trsr_returning polyline { stroke-dasharray: 6 3; } .limit polyline { stroke: var(--ink); stroke-dasharray: 2 3; }
"""
_NAMES = {"candidates": "candidates", "prefix": "tokens of the prefix"}
Points = list[tuple[int, float]]


def benchmark_plot(results: Sequence[Result], title: str) -> str:
    """SVG text: a panel over the candidates, and one over the prefix where that takes several sizes."""
    chosen = {axis: _longest_series(results, axis) for axis in _NAMES}
    if len({result.case.prefix for result in chosen["prefix"]}) == 1:
        del chosen["prefix"]
    panels = [
        f'<g transform="translate({_WIDTH * place} 0)">{_panel(series, axis)}</g>'
        for place, (axis, series) in enumerate(chosen.items())
    ]
    size = f"{_WIDTH * len(panels)} {_HEIGHT}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(panels)}</svg>\n"
    )


def _longest_series(results: Sequence[Result], axis: str) -> list[Result]:
    """The results in which only `axis` changes, where it takes the most sizes."""
    series: dict[tuple[int, ...], list[Result]] = {}
    for result in results:
        rest = {"prefix": result.case.prefix, "suffix": result.case.suffix, "candidates": result.case.candidates}
        del rest[axis]
        series.setdefault(tuple(rest.values()), []).append(result)
    return max(series.values(), key=lambda found: len({result.case for result in found}))


def _panel(series: Sequence[Result], axis: str) -> str:
    lines: dict[str, Points] = {}
    for result in series:
        lines.setdefault(result.method, []).append((getattr(result.case, axis), result.timing.seconds))
    sizes = sorted({size for points in lines.values() for size, _ in points})
    seconds = [value for points in lines.values() for _, value in points]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    x = Axis(math.log10(sizes[0]) - 0.05, math.log10(sizes[-1]) + 0.05, _LEFT, _WIDTH - _RIGHT)
    y = Axis(low, max(high, low + 1), _HEIGHT - _BOTTOM, _TOP)
    case = series[0].case
    rest = f"P {case.prefix}" if axis == "candidates" else f"N {case.candidates}"
    parts = [f'<text class="title" x="8" y="16">seconds over {_NAMES[axis]} ({rest}, S {case.suffix})</text>']
    for power in range(low, max(high, low + 1) + 1):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(power)}" y2="{y(power)}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(power) + 4}" text-anchor="end">{10.0**power:g}</text>')
    drawn = -math.inf
    for size in sizes:
        if x(math.log10(size)) - drawn >= _TICK_GAP:
            drawn = x(math.log10(size))
            parts.append(f'<text x="{drawn}" y="{_HEIGHT - 22}" text-anchor="middle">{size:,}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{_NAMES[axis]}</text>')
    places = {
        name: [(x(math.log10(size)), y(math.log10(value))) for size, value in sorted(points)]
        for name, points in lines.items()
    }
    labels = _apart({name: points[-1][1] for name, points in places.items()})
    return "".join([*parts, *(_line(name, points, labels[name]) for name, points in places.items())])


def _line(name: str, points: Sequence[tuple[float, float]], label: float) -> str:
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in points)
    path = " ".join(f"{x},{y}" for x, y in points)
    text = f'<text x="{points[-1][0] + 8}" y="{label + 4}">{escape(name)}</text>'
    return f'<g class="{escape(name)}"><polyline points="{path}"/>{dots}{text}</g>'


def _apart(wanted: dict[str, float]) -> dict[str, float]:
    """Heights of labels, moved down where they would cover each other."""
    placed: dict[str, float] = {}
    last = -math.inf
    for name, height in sorted(wanted.items(), key=lambda entry: entry[1]):
        last = placed[name] = max(height, last + _LABEL_GAP)
    return placed
