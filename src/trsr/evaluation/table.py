"""The results as a table for the terminal: models as rows, metrics as columns, chance first."""

import re
from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.protocol import describe_protocol

KINDS = ["recall", "mrr", "ndcg", "hit", "auc"]
UNKNOWN = "–"
SHOWN_CUTS = {"recall": 3, "mrr": 3, "ndcg": 1, "auc": 1}

ROUNDING = 1e-9
"""Means that differ by less are equal but for the order in which they were added up."""


def metric_columns(metrics: Metrics, *, full: bool = False) -> list[str]:
    """Names of the metrics to show, in order.

    By default recall and mrr at the first three cut-offs, ndcg at the first, and auc, which fits 120 columns;
    with `full` all of them.
    """
    names = sorted({name for values in metrics.values() for name in values}, key=_order)
    if full:
        return names
    kinds = {kind: [name for name in names if re.match(rf"{kind}\b", name)] for kind in SHOWN_CUTS}
    return [name for kind, cuts in SHOWN_CUTS.items() for name in kinds[kind][:cuts]]


def model_rows(metrics: Metrics) -> list[str]:
    """Names of the models in their given order, chance first."""
    return sorted(metrics, key=lambda model: model != CHANCE)


def best_models(metrics: Metrics, column: str) -> set[str]:
    """The models with the highest mean of one metric, but for what rounding does to the last bits of a mean."""
    means = {model: values[column]["mean"] for model, values in metrics.items() if column in values}
    return {model for model, mean in means.items() if mean >= max(means.values()) - ROUNDING}


def shared_protocol(columns: Iterable[str]) -> str:
    """The protocol that all metric names carry, empty where they carry none or different ones."""
    found = {name.partition("/")[2] for name in columns}
    return found.pop() if len(found) == 1 else ""


def rich_table(metrics: Metrics, *, full: bool = False) -> Table:
    """Table of `mean ± half width of the 95 % interval`; the protocol stands in the caption when it is one."""
    columns = metric_columns(metrics, full=full)
    protocol = shared_protocol(columns)
    caption = "mean ± half of the 95 % interval over users"
    if protocol:
        caption = f"{describe_protocol(protocol)} per example ({protocol}); {caption}"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption, caption_justify="left", pad_edge=False)
    table.add_column("model", no_wrap=True)
    for column in columns:
        header = column.replace("/", "\n/")
        table.add_column(header.replace("@", "\n@") if full else header, justify="right")
    best = {column: best_models(metrics, column) for column in columns}
    for model in model_rows(metrics):
        cells = [
            Text(_half_width(metrics[model].get(column)), style="bold" if model in best[column] else "")
            for column in columns
        ]
        table.add_row(Text(model), *cells)
    return table


def number(value: float) -> str:
    """Three decimals without the leading zero, as metrics are printed in this field: `.385`, `1.000`.

    A zero has no sign, but `-.000` is a small negative number.
    """
    return re.sub(r"^(-?)0\.", r"\1.", f"{0.0 if abs(value) < ROUNDING else value:.3f}")


def with_bounds(interval: dict[str, float] | None) -> str:
    """`mean [low, high]`, or a dash where the model has no such metric."""
    if interval is None:
        return UNKNOWN
    return f"{number(interval['mean'])} [{number(interval['low'])}, {number(interval['high'])}]"


def _half_width(interval: dict[str, float] | None) -> str:
    if interval is None:
        return UNKNOWN
    return f"{number(interval['mean'])} ±{number((interval['high'] - interval['low']) / 2)}"


def _order(name: str) -> tuple[int, int, str]:
    kind, _, rest = name.partition("/")[0].partition("@")
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), int(rest) if rest.isdigit() else 0, name)
