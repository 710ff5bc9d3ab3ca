"""How much a result owes to its seed: the same experiment run with several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import polars as pl

from trsr.errors import DataError


@dataclass(frozen=True)
class SeedSpread:
    """A metric of one model over the runs that have the model; `sd` is null for a single run."""

    mean: float
    sd: float | None
    low: float
    high: float
    runs: int


def spread_over_seeds(runs: Sequence[pl.DataFrame]) -> dict[str, dict[str, SeedSpread]]:
    """Spread of the runs' means, `{model: {metric: SeedSpread}}`; `low` and `high` are the least and the greatest.

    Each frame is the `per_user.parquet` of one run: model, user_id and one column per metric. Users may differ from
    run to run. The spread is that of training and sampling, not that of drawing users: for the latter, see the
    intervals of each run. Raises `DataError` where the runs have different metrics, which is to say cut-offs or
    protocols.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for place, run in enumerate(runs, 1):
        _check(run, runs[0], place)
        means = run.group_by("model", maintain_order=True).agg(pl.exclude("model", "user_id").mean())
        for row in means.iter_rows(named=True):
            metrics = found.setdefault(row.pop("model"), {})
            for metric, mean in row.items():
                if mean is not None:
                    metrics.setdefault(metric, []).append(mean)
    return {model: {metric: _spread(values) for metric, values in metrics.items()} for model, metrics in found.items()}


def _check(run: pl.DataFrame, first: pl.DataFrame, place: int) -> None:
    absent = [name for name in ("model", "user_id") if name not in run.columns]
    if absent:
        raise DataError(f"run {place}: no column {absent[0]}; give the per_user.parquet of a run")
    other = sorted(set(run.columns) ^ set(first.columns))
    if other:
        raise DataError(
            f"run {place}: its metrics are not those of run 1 ({', '.join(other)}); give runs with the same cut-offs "
            "and the same candidates"
        )


def _spread(values: Sequence[float]) -> SeedSpread:
    sd = stdev(values) if len(values) > 1 else None
    return SeedSpread(fmean(values), sd, min(values), max(values), len(values))
