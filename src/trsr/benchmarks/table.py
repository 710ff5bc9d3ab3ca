"""The results as a table for the terminal: a section for each case, methods as rows."""

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.table import Table

from trsr.benchmarks.importing import ImportResult
from trsr.benchmarks.running import Result
from trsr.benchmarks.summarizing import SummaryResult

_BASE, _LEAST = "trsr", "limit"


def benchmark_table(results: Sequence[Result], peak_operations: float | None) -> Table:
    """Median seconds, tokens of P + N * S a second, seconds as multiples of those of trsr and of the limit, memory.

    With the operations a second that the device is built for, also the share of them that was made use of (MFU).
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True)
    heads = ["P", "S", "N", "seconds", "runs", "tokens/s", "× trsr", "× limit", "peak MB"]
    for head in [*heads, *(["MFU"] if peak_operations else [])]:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("as", style="dim")
    for case, group in groupby(results, key=lambda result: result.case):
        rows = list(group)
        seconds = {result.method: result.timing.seconds for result in rows}
        for result in rows:
            taken = result.timing.seconds
            cells = [
                *(str(case.prefix), str(case.suffix), str(case.candidates), f"{taken:.3g}", str(result.timing.runs)),
                *(f"{case.least / taken:,.0f}", _times(taken, seconds.get(_BASE)), _times(taken, seconds.get(_LEAST))),
                f"{result.timing.peak_mb:,.0f}",
            ]
            if peak_operations:
                cells.append(f"{result.operations / taken / peak_operations:.1%}")
            table.add_row(result.method, *cells, result.note)
        table.add_section()
    return table


def summaries_table(results: Sequence[SummaryResult]) -> Table:
    """Users, calls and tokens of each method, and how fast it was, also as multiples of the published way."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True)
    for head in ("users", "calls", "tokens in", "tokens out", "seconds", "users/min", "× published", "tokens/s"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("as", style="dim")
    published = next((result.users_per_minute for result in results if result.method == "published"), None)
    for result in results:
        usage, pace = result.usage, result.users_per_minute
        counts = (result.users, usage.calls, usage.tokens_in, usage.tokens_out)
        table.add_row(
            result.method,
            *(f"{count:,}" for count in counts),
            *(f"{result.seconds:.3g}", f"{pace:,.3g}" if pace < 1000 else f"{pace:,.0f}", _times(pace, published)),
            f"{(usage.tokens_in + usage.tokens_out) / result.seconds:,.0f}",
            result.note,
        )
    return table


def imports_table(results: Sequence[ImportResult]) -> Table:
    """Rows, seconds, rows a second and peak memory of each step, and seconds of a plain read where there is one."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("data set", "step"):
        table.add_column(head, no_wrap=True)
    for head in ("rows", "seconds", "rows/s", "plain seconds", "peak MB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("as", style="dim")
    for dataset, group in groupby(results, key=lambda result: result.dataset):
        for result in group:
            plain = "–" if result.plain_seconds is None else f"{result.plain_seconds:.3g}"
            pace = f"{result.rows / result.seconds:,.0f}"
            cells = (f"{result.rows:,}", f"{result.seconds:.3g}", pace, plain, f"{result.peak_mb:,.0f}", result.note)
            table.add_row(dataset, result.step, *cells)
        table.add_section()
    return table


def _times(seconds: float, base: float | None) -> str:
    return "–" if base is None else f"{seconds / base:.2f}"
