"""The results as a table for the terminal: a section for each case, methods as rows."""

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.table import Table

from trsr.benchmarks.running import Result

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


def _times(seconds: float, base: float | None) -> str:
    return "–" if base is None else f"{seconds / base:.2f}"
