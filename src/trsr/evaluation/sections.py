"""What a page is made of: sections of facts, tables and figures, for a browser, a terminal or a Markdown file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from trsr.data.survey.spread import QUANTILES, Bar
from trsr.evaluation.charts import CurvePlot, IntervalPlot
from trsr.evaluation.distributions import BarPlot, SharePlot, bar_plot
from trsr.evaluation.series import ScatterPlot, SeriesPlot
from trsr.evaluation.tales import Tale

Spread = Mapping[str, Any]
"""A `trsr.data.survey.spread.Spread` as plain values."""

Chart = BarPlot | SharePlot | IntervalPlot | CurvePlot | SeriesPlot | ScatterPlot


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, a smaller `note` under it, and what it stands out for."""

    text: str
    note: str = ""
    tone: Literal["", "best", "good", "attention", "quiet"] = ""


TableRow: TypeAlias = list[str | Cell]
"""A row of a table; a cell whose text alone matters may be given as that text."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first cell of a row names it.

    `numeric` tables align the rest to the right; a `folded` one is opened by who wants the numbers behind a chart.
    """

    header: Sequence[str]
    rows: Sequence[TableRow] | Sequence[list[str]]
    numeric: bool = True
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart; its numbers stand in a table of the same section, for Markdown and for who cannot see it."""

    title: str
    chart: Chart


@dataclass(frozen=True)
class Detail:
    """What a reader opens when in doubt: text as it is, or values as they are nested."""

    title: str
    content: str | Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One part of the page; `facts` are (name, text)."""

    title: str
    note: str = ""
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    tales: Sequence[Tale] = ()
    details: Sequence[Detail] = ()


@dataclass(frozen=True)
class Chapter:
    """Sections about one thing; the title is empty where there is one chapter only."""

    title: str
    headline: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    chapters: Sequence[Chapter]


def as_cell(cell: str | Cell) -> Cell:
    """The cell that is meant."""
    return Cell(cell) if isinstance(cell, str) else cell


def spread_table(rows: Mapping[str, Spread]) -> Table:
    """Mean and quantiles, a row for every spread."""
    cells = [
        [name, f"{spread['mean']:,.1f}", *(f"{spread['quantiles'][quantile]:,}" for quantile in QUANTILES)]
        for name, spread in rows.items()
    ]
    return Table(["", "mean", *QUANTILES], cells)


def spread_figure(title: str, spread: Spread) -> Figure:
    """The histogram of a spread."""
    bars = [Bar(**bar) for bar in spread["histogram"]]
    return Figure(title, bar_plot(title, [(bar.label, bar.count) for bar in bars]))
