"""Runs that differ in their seeds only, taken together: the value of a user is the mean over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.comparisons import Comparison, compare_run
from trsr.evaluation.evaluate import Metrics, over_users
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.seeds import SeedSpread, spread_over_seeds
from trsr.evaluation.table import UNKNOWN

SEEDS = ("seed", "training.seed", "evaluation.seed")


class UserMeans(NamedTuple):
    """What several seeds come to, as of one run: metrics, and the users' means over those that tested them."""

    metrics: Metrics
    per_user: pl.DataFrame


@dataclass(frozen=True)
class Variant:
    """Runs that differ in their seeds only; `settings` are the values of what varies in the group.

    `name` tells the variant from others, and `label` does with its number of seeds where that varies too.
    """

    name: str
    label: str
    settings: Mapping[str, Any]
    runs: Sequence[RunFiles]

    @property
    def several(self) -> bool:
        """Whether there is more than one seed."""
        return len(self.runs) > 1

    @property
    def seeds(self) -> list[str]:
        """The seed of every run, as `seeds_of` tells it."""
        return seeds_of(self.runs)

    @property
    def labelled(self) -> list[tuple[str, RunFiles]]:
        """The runs, with what tells them from others."""
        if not self.several:
            return [(self.label, self.runs[0])]
        told = [f"{self.name}, seed {seed}".removeprefix(", ") for seed in self.seeds]
        return list(zip(told, self.runs, strict=True))

    @cached_property
    def pooled(self) -> UserMeans | None:
        """Of several seeds, where every run tells its users' values for the same models and metrics."""
        if not self.several:
            return None
        known = [values for run in self.runs if (values := _user_values(run)) is not None]
        if len(known) < len(self.runs):
            return None
        models, names = list(known[0]), sorted(_metric_names(self.runs[0]))
        if any(set(run.metrics) != set(models) or _metric_names(run) != set(names) for run in self.runs):
            return None
        stacked = {model: pl.concat([values[model].select("user_id", *names) for values in known]) for model in models}
        tables = {model: frame.select(names).to_numpy() for model, frame in stacked.items()}
        return UserMeans(*over_users(tables, stacked[models[0]]["user_id"], names, self._evaluation))

    @cached_property
    def metrics(self) -> Metrics:
        """Of one run as it is; of several those of the users' means.

        Where these are not known, the mean over the runs, with the least and the greatest as bounds.
        """
        if self.pooled is not None:
            return self.pooled.metrics
        if not self.several:
            return self.runs[0].metrics
        return {
            model: {name: {"mean": one.mean, "low": one.low, "high": one.high} for name, one in spreads.items()}
            for model, spreads in self.spread.items()
        }

    @cached_property
    def comparisons(self) -> list[tuple[str, Sequence[RunFiles], Sequence[Comparison]]]:
        """Paired tests with a label and the runs they are of: of all seeds together, or else of each run."""
        if self.pooled is None:
            return [(label, [run], run.comparisons) for label, run in self.labelled]
        mixes = [key.removeprefix("mixes.") for key in self.runs[0].settings if key.startswith("mixes.")]
        return [(self.label, self.runs, compare_run(*self.pooled, self._evaluation, mixes))]

    @cached_property
    def spread(self) -> dict[str, dict[str, SeedSpread]]:
        """How much the results owe to the seeds."""
        return spread_over_seeds([_means(run.metrics) for run in self.runs])

    @property
    def _evaluation(self) -> EvaluationConfig:
        """With the resamples of the runs, and the seed of the first of them."""
        settings, usual = self.runs[0].settings, EvaluationConfig()
        return EvaluationConfig(
            resamples=settings.get("evaluation.resamples", usual.resamples),
            seed=settings.get("evaluation.seed", usual.seed),
        )


def seed_of(run: RunFiles) -> tuple[Any, ...]:
    """All that tells runs of one variant from each other."""
    return tuple(run.settings.get(key) for key in SEEDS)


def seeds_of(runs: Sequence[RunFiles]) -> list[str]:
    """The seed of every run: the first kind of seed in which they differ."""
    kinds = [[run.settings.get(key) for run in runs] for key in SEEDS]
    told = next((seeds for seeds in kinds if len(set(seeds)) > 1), kinds[0])
    return [
        str(run.manifest.get("seed", UNKNOWN) if seed is None else seed) for run, seed in zip(runs, told, strict=True)
    ]


def _metric_names(run: RunFiles) -> set[str]:
    return {name for values in run.metrics.values() for name in values}


def _user_values(run: RunFiles) -> dict[str, pl.DataFrame] | None:
    """The values of every model of the run in one order of users; null where they are not told in full."""
    names = _metric_names(run)
    if run.per_user is None or not names <= set(run.per_user.columns):
        return None
    tables = {
        str(model): frame.sort("user_id")
        for (model,), frame in run.per_user.partition_by("model", as_dict=True, maintain_order=True).items()
    }
    users = [frame["user_id"] for frame in tables.values()]
    return tables if set(tables) == set(run.metrics) and all(one.equals(users[0]) for one in users) else None


def _means(metrics: Metrics) -> pl.DataFrame:
    """The means of a run as a frame of one user, which has the same means."""
    rows = [
        {"model": model, "user_id": ""} | {name: interval["mean"] for name, interval in values.items()}
        for model, values in metrics.items()
    ]
    return pl.DataFrame(rows)
