"""Is one ranker better than another? Differences over the same users, with what a test of this size can say.

In a run, the tuned rankers (`trsr-METHOD`) and mixes with one are the models in question; all others but chance and
the oracle are baselines. Each of the former is compared with the best baseline, by the mean of the metric in question,
with the best mix of baselines, and with the controls: `trsr-none`, which has no summary, `trsr-recent`, which reads
recent items in its place, and `trsr-context`, which reads the whole history. Where a run tunes none, the other
baselines are compared with the best one. No two models are compared twice.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import polars as pl

from trsr.config import TUNED, EvaluationConfig, RankerMethod
from trsr.errors import ConfigError
from trsr.evaluation.evaluate import CHANCE, Evaluation, Metrics
from trsr.evaluation.intervals import bootstrap
from trsr.evaluation.metrics import Floats
from trsr.evaluation.paired import (
    FEWEST_USERS,
    SIGNIFICANCE,
    holm,
    sign_flip_test,
    smallest_detectable,
    user_differences,
)
from trsr.evaluation.table import metric_columns, number

RECENT = f"{TUNED}recent"
CONTROLS = (f"{TUNED}none", RECENT, f"{TUNED}context")
"""The tuned rankers that read no summary."""

WITH_SUMMARY = tuple(f"{TUNED}{method}" for method in get_args(RankerMethod) if f"{TUNED}{method}" not in CONTROLS)
"""The tuned rankers that read one."""

ORACLE = "oracle"


@dataclass(frozen=True)
class Comparison:
    """`model` minus `against` in one metric, over users; `p_holm` is p after Holm's correction over its family.

    `smallest_detectable` is the difference that a test of so many users finds 4 times in 5 (null where none can be
    found or nothing is known about it).
    """

    metric: str
    model: str
    against: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    smallest_detectable: float | None
    users: int

    @property
    def shown(self) -> bool:
        """Whether there is a difference, with the risk of a single wrong claim in the family held at 5 %."""
        return self.p_holm <= SIGNIFICANCE


@dataclass(frozen=True)
class Pair:
    """What is to be compared."""

    metric: str
    model: str
    against: str


def compare_run(
    metrics: Metrics, per_user: pl.DataFrame, config: EvaluationConfig, mixes: Collection[str] = ()
) -> list[Comparison]:
    """Every tuned ranker against baselines and controls, in every metric; see the module.

    `metrics` and `per_user` are those of an `Evaluation`; `mixes` are named.
    """
    models = list(metrics)
    tuned = [model for model in models if model.startswith(TUNED)]
    others = [model for model in models if model not in (*tuned, CHANCE, ORACLE)]
    baselines, mixed = ([model for model in others if (model in mixes) == whether] for whether in (False, True))
    controls = [control for control in CONTROLS if control in tuned]
    pairs = []
    for metric in metric_columns(metrics, full=True):
        best = _best(metrics, baselines, metric)
        against = [*best, *_best(metrics, mixed, metric), *controls]
        # of two controls the latter is held against the former, and not the other way round as well
        pairs += [
            Pair(metric, model, other)
            for place, other in enumerate(against)
            for model in tuned or others
            if model not in against[: place + 1]
        ]
    return compare(per_user, pairs, config)


def compare_with(evaluation: Evaluation, against: str, config: EvaluationConfig) -> list[Comparison]:
    """Every other model but chance against one, in every metric. Raises `ConfigError` if there is no such model."""
    models = list(evaluation.metrics)
    if against not in models:
        raise ConfigError(f'evaluate: no model "{against}" to compare with; there are {", ".join(models)}')
    others = [model for model in models if model not in (against, CHANCE)]
    columns = metric_columns(evaluation.metrics, full=True)
    return compare(
        evaluation.per_user, [Pair(metric, model, against) for metric in columns for model in others], config
    )


def compare(per_user: pl.DataFrame, pairs: Sequence[Pair], config: EvaluationConfig) -> list[Comparison]:
    """Test pairs of models on the users that all ranked for, with the values of `Evaluation.per_user`.

    All tests of one `family` are corrected together.
    """
    if not pairs:
        return []
    values = _values(per_user)
    differences = np.column_stack(
        [user_differences(values[pair.model][pair.metric], values[pair.against][pair.metric]) for pair in pairs]
    )
    found = [
        Comparison(
            metric=pair.metric,
            model=pair.model,
            against=pair.against,
            difference=interval.mean,
            low=interval.low,
            high=interval.high,
            p=float(p),
            p_holm=float(p),
            smallest_detectable=smallest,
            users=len(differences),
        )
        for pair, interval, p, smallest in zip(
            pairs,
            bootstrap(differences, config.resamples, config.seed),
            sign_flip_test(differences, config.seed),
            smallest_detectable(differences),
            strict=True,
        )
    ]
    return _corrected(found)


def family(metric: str) -> str:
    """The tests that are corrected together: one kind of metric at all cut-offs, for all pairs of models."""
    return metric.partition("/")[0].partition("@")[0]


def first_metric(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons in the metric that is named first, recall at the smallest cut-off; not the best looking one."""
    return [comparison for comparison in comparisons if comparison.metric == comparisons[0].metric]


def sentence(comparison: Comparison) -> str:
    """A comparison in plain words."""
    amount = f"{number(comparison.difference)} [{number(comparison.low)}, {number(comparison.high)}]"
    if not comparison.shown:
        told = f"{comparison.model} cannot be told from {comparison.against}: {amount}"
    else:
        place = "ahead of" if comparison.difference > 0 else "behind"
        amount = amount if comparison.difference > 0 else _mirrored(comparison)
        told = f"{comparison.model} is {place} {comparison.against} by {amount}"
    return f"{told} in {comparison.metric}, {p_text(comparison.p_holm)} after Holm; {_reach(comparison)}"


def p_text(p: float) -> str:
    """`p = .031`, `p < .001`, and one more digit where three would move it to the other side of 5 %."""
    if p < 0.001:
        return "p < .001"
    crosses = (p <= SIGNIFICANCE) != (round(p, 3) <= SIGNIFICANCE)
    return f"p = {f'{p:.4f}'.removeprefix('0')}" if crosses else f"p = {number(p)}"


def _mirrored(comparison: Comparison) -> str:
    low, high = -comparison.high + 0.0, -comparison.low + 0.0
    return f"{number(-comparison.difference)} [{number(low)}, {number(high)}]"


def _reach(comparison: Comparison) -> str:
    users = f"a single test of {comparison.users:,} user{'' if comparison.users == 1 else 's'}"
    if comparison.users < FEWEST_USERS:
        return f"{users} cannot show any difference"
    if comparison.smallest_detectable is None:
        return f"in {users} all had the same difference"
    return f"{users} could have seen {number(comparison.smallest_detectable)}"


def _best(metrics: Metrics, models: Sequence[str], metric: str) -> list[str]:
    """The first model with the highest mean; nothing where there are no models."""
    return [max(models, key=lambda model: metrics[model][metric]["mean"])] if models else []


def _values(per_user: pl.DataFrame) -> dict[str, dict[str, Floats]]:
    """Model, then metric, to one value per user; the users are in one order for all models."""
    names = [name for name in per_user.columns if name not in ("model", "user_id")]
    return {
        str(model): {name: frame[name].to_numpy() for name in names}
        for (model,), frame in per_user.sort("model", "user_id").partition_by("model", as_dict=True).items()
    }


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    families = defaultdict(list)
    for index, comparison in enumerate(comparisons):
        families[family(comparison.metric)].append(index)
    adjusted = dict[int, float]()
    for members in families.values():
        adjusted |= zip(members, holm([comparisons[index].p for index in members]), strict=True)
    return [replace(comparison, p_holm=adjusted[index]) for index, comparison in enumerate(comparisons)]
