"""What a page on a dataset is made of: sections of facts, tables and plots, for a browser or a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trsr.data.survey.spread import QUANTILES, Bar
from trsr.evaluation.distributions import BarPlot, SharePlot, bar_plot

Spread = Mapping[str, Any]
"""A `trsr.data.survey.spread.Spread` as plain values."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first cell of a row names it. `numeric` tables align the rest to the right."""

    header: list[str]
    rows: list[list[str]]
    numeric: bool = True


@dataclass(frozen=True)
class Section:
    """One part of the page; `facts` are (name, text)."""

    title: str
    note: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    bars: list[BarPlot] = field(default_factory=list)
    curves: list[SharePlot] = field(default_factory=list)


def spread_table(rows: Mapping[str, Spread]) -> Table:
    """Mean and quantiles, a row for every spread."""
    cells = [
        [name, f"{spread['mean']:,.1f}", *(f"{spread['quantiles'][quantile]:,}" for quantile in QUANTILES)]
        for name, spread in rows.items()
    ]
    return Table(["", "mean", *QUANTILES], cells)


def spread_plot(title: str, spread: Spread) -> BarPlot:
    """The histogram of a spread."""
    bars = [Bar(**bar) for bar in spread["histogram"]]
    return bar_plot(title, [(bar.label, bar.count) for bar in bars])
