"""The page of `trsr data check` on a terminal: sections first, findings last, where the eye is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trsr.cli.output import make_console
from trsr.prompts.inert import make_inert

if TYPE_CHECKING:
    from rich.console import Console

    from trsr.evaluation.distributions import BarPlot
    from trsr.evaluation.sections import Section, Table
    from trsr.experiment.prompt_costs import Terms

_LEVELS = "▁▂▃▄▅▆▇█"
_STYLES = {"stop": "bold red", "look": "yellow", "ok": "green"}


def check_terms(
    rate: float | None, price_in: float | None, price_out: float | None, model: str | None, no_tokens: bool
) -> "Terms":
    """The terms of calls. Raises `ConfigError` for options that would be passed over."""
    from trsr.errors import ConfigError
    from trsr.experiment.prompt_costs import Terms

    given = {"--model": model, "--rate": rate, "--price-in": price_in, "--price-out": price_out}
    passed_over = [name for name, value in given.items() if value is not None]
    if no_tokens and passed_over:
        raise ConfigError(f"data check: {passed_over[0]} does not go with --no-tokens; give one of them")
    if rate == 0:
        raise ConfigError("data check: --rate 0 never ends; give the calls a second that were measured")
    return Terms(price_in, price_out, rate)


def print_check(content: Mapping[str, Any]) -> None:
    """What reading did, every section and every finding."""
    from trsr.evaluation.data_page import cleaning_report
    from trsr.evaluation.data_sections import data_sections

    console = make_console()
    for line in cleaning_report(content).lines():
        console.print(make_inert(line), markup=False, soft_wrap=True)
    console.print(make_inert(f"attributes: {', '.join(content['attributes'])}"), markup=False, soft_wrap=True)
    possible = "possible" if content["times"] else "not possible"
    console.print(f"split by real time is {possible}")
    if content["no_tokens"]:
        console.print(f"no tokens: {make_inert(content['no_tokens'])}", markup=False, soft_wrap=True)
    for section in data_sections(content):
        _print_section(console, section)
    _print_findings(console, content["findings"])


def _print_section(console: "Console", section: "Section") -> None:
    from rich.text import Text

    from trsr.evaluation.distributions import BarPlot

    console.print(Text(f"\n{section.title}", style="bold"))
    if section.note:
        console.print(Text(make_inert(section.note), style="dim"))
    for label, text in section.facts:
        console.print(Text(f"  {make_inert(label)}: {make_inert(text)}"))
    for table in section.tables:
        console.print(_table(table))
    for figure in section.figures:
        if isinstance(figure.chart, BarPlot):
            plot = figure.chart
            console.print(Text(f"  {plot.title}, {_span(plot)}: {_sparkline(plot)}"))


def _table(table: "Table") -> Any:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    from trsr.evaluation.sections import as_cell

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=True)
    for place, cell in enumerate(table.header):
        grid.add_column(Text(cell), justify="right" if table.numeric and place else "left")
    for row in table.rows:
        grid.add_row(*(Text(make_inert(as_cell(cell).text)) for cell in row))
    return grid


def _span(plot: "BarPlot") -> str:
    return f"{plot.bars[0].label} to {plot.bars[-1].label}" if len(plot.bars) > 1 else plot.bars[0].label


def _sparkline(plot: "BarPlot") -> str:
    """A block for every column, as high as its share of the highest; a count of 0 is a space."""
    most = max(bar.height for bar in plot.bars) or 1
    levels = len(_LEVELS) - 1
    return "".join(_LEVELS[round(bar.height / most * levels)] if bar.text != "0" else " " for bar in plot.bars)


def _print_findings(console: "Console", findings: list[dict[str, str]]) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console.print(Text("\nFindings", style="bold"))
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for finding in reversed(findings):
        told = Text(f"{finding['topic']}: ", style="bold")
        told.append(make_inert(finding["seen"]), style="not bold")
        if finding["severity"] != "ok":
            told.append(f"\n{finding['advice']}", style="not bold dim")
        grid.add_row(Text(finding["severity"], style=_STYLES[finding["severity"]]), told)
    console.print(grid)
