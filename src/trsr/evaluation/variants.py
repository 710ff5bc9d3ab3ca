"""Runs that differ in their seeds only, taken together: the value of a user is the mean over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.comparisons import Comparison, compare_run
from trsr.evaluation.evaluate import Metrics, over_users
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.seeds import SeedSpread, spread_over_seeds
from trsr.evaluation.table import UNKNOWN

SEEDS = ("seed", "training.seed", "evaluation.seed")


@dataclass(frozen=True)
class Variant:
    """Runs that differ in their seeds only; `settings` are the values of what varies in the group."""

    label: str
    settings: Mapping[str, Any]
    runs: Sequence[RunFiles]

    @property
    def several(self) -> bool:
        """Whether there is more than one seed."""
        return len(self.runs) > 1

    @property
    def seeds(self) -> list[str]:
        """The seed of every run: the first kind of seed in which they differ."""
        kinds = [[run.settings.get(key, run.manifest.get(key)) for run in self.runs] for key in SEEDS]
        differing = next((seeds for seeds in kinds if len(set(seeds)) > 1), kinds[0])
        return [UNKNOWN if seed is None else str(seed) for seed in differing]

    @cached_property
    def metrics(self) -> Metrics:
        """Of one run as it is; of several those of the users' means over the seeds.

        Where the runs do not tell their users' values, the mean over the runs, with the least and the greatest as
        bounds.
        """
        if not self.several:
            return self.runs[0].metrics
        if self._pooled is not None:
            return self._pooled[0]
        return {
            model: {name: {"mean": one.mean, "low": one.low, "high": one.high} for name, one in spreads.items()}
            for model, spreads in self.spread.items()
        }

    @property
    def per_user(self) -> pl.DataFrame | None:
        """model, user_id and one column per metric; of several seeds the users' means; null where a run has none."""
        if not self.several:
            return self.runs[0].per_user
        return None if self._pooled is None else self._pooled[1]

    @cached_property
    def comparisons(self) -> list[Comparison] | None:
        """The paired tests; of several seeds those of the users' means, null where these are not known."""
        if not self.several:
            return self.runs[0].comparisons
        if self._pooled is None:
            return None
        mixes = [key.removeprefix("mixes.") for key in self.runs[0].settings if key.startswith("mixes.")]
        return compare_run(*self._pooled, EvaluationConfig(), mixes)

    @cached_property
    def spread(self) -> dict[str, dict[str, SeedSpread]]:
        """How much the results owe to the seeds."""
        return spread_over_seeds([_means(run.metrics) for run in self.runs])

    @cached_property
    def _pooled(self) -> tuple[Metrics, pl.DataFrame] | None:
        """Metrics and users' values of all seeds, where every run tells the same models in the same metrics."""
        known = [run.per_user for run in self.runs if run.per_user is not None and _tells_all(run.per_user, run)]
        if len(known) < len(self.runs) or any(frame.columns != known[0].columns for frame in known):
            return None
        models = [frame["model"].unique(maintain_order=True).to_list() for frame in known]
        if any(set(of_run) != set(models[0]) for of_run in models):
            return None
        names = [name for name in known[0].columns if name not in ("model", "user_id")]
        values = {
            str(model): pl.concat([frame.filter(pl.col("model") == model).sort("user_id") for frame in known])
            for model in models[0]
        }
        users = next(iter(values.values()))["user_id"]
        if any(not frame["user_id"].equals(users) for frame in values.values()):
            return None
        tables = {model: frame.select(names).to_numpy().astype(np.float64) for model, frame in values.items()}
        return over_users(tables, users, names, EvaluationConfig())


def _tells_all(per_user: pl.DataFrame, run: RunFiles) -> bool:
    """Whether the users' values are those of all models and metrics of the run."""
    names = {name for values in run.metrics.values() for name in values}
    return set(per_user["model"].unique()) == set(run.metrics) and names <= set(per_user.columns)


def _means(metrics: Metrics) -> pl.DataFrame:
    """The means of a run as a frame of one user, which has the same means."""
    rows = [
        {"model": model, "user_id": ""} | {name: interval["mean"] for name, interval in values.items()}
        for model, values in metrics.items()
    ]
    return pl.DataFrame(rows)
