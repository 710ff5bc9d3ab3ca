"""Runs side by side: which may stand in one table, in what they differ, and which are one run with several seeds."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trsr.config import TUNED, short_key
from trsr.evaluation.comparisons import ORACLE, Comparison
from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.protocol import describe_protocol
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.table import ROUNDING, metric_columns
from trsr.evaluation.variants import SEEDS, Variant, seed_of

NAMES = {"name", "data.path"}
MODELS = {"methods", "baselines", "untuned"}
MEASURING = ("evaluation.", "checks.", "mixes.")
"""Settings, and beginnings of them, that say what is there to be seen, not what becomes of a model."""

LEARNING = {"data.path", "data.attributes", "data.max_history"}
LEARNING |= {"split.max_train", "split.max_valid", "split.targets_per_user"}
LEARNING |= {"candidates.train_negatives", "candidates.train_source"}
"""Settings of data, split and candidates that leave the test as it is."""

LONGEST = 3
"""Runs that differ in more settings than this are called by their folders."""

BETWEEN = " · "


@dataclass(frozen=True)
class Row:
    """One model of one variant: of those that share it, the one with most seeds, of equals the first."""

    label: str
    model: str
    variant: Variant
    metrics: dict[str, dict[str, float]]

    @property
    def run(self) -> RunFiles:
        """The first run, for what is told of one."""
        return self.variant.runs[0]

    @property
    def is_bound(self) -> bool:
        """Whether it is no model but what bounds one: chance below, the oracle above."""
        return self.model in (CHANCE, ORACLE)

    @property
    def is_tuned(self) -> bool:
        """Whether it is a ranker that the run tuned, not a baseline."""
        return self.model.startswith(TUNED)


@dataclass(frozen=True)
class PairedTest:
    """A paired test, its variant, and the run it is of (of users' means the first); `label` tells it from others."""

    label: str
    variant: Variant
    run: RunFiles
    test: Comparison


@dataclass(frozen=True)
class RunGroup:
    """Runs of the same data and the same protocol. `varied` are the settings they differ in, with all values."""

    runs: Sequence[RunFiles]
    varied: Mapping[str, list[Any]]
    variants: Sequence[Variant]

    @cached_property
    def labelled(self) -> list[tuple[str, RunFiles]]:
        """Every run with what tells it from the others, empty where it is alone."""
        return [one for variant in self.variants for one in variant.labelled]

    @cached_property
    def rows(self) -> list[Row]:
        """Every model of every variant: chance first, then the best first, by `lead`."""
        found = [row for model in _models(self.variants) for row in _rows(model, self.variants)]
        order = {row.label: (row.model != CHANCE, -_mean(row.metrics, self.lead)) for row in found}
        return sorted(found, key=lambda row: order[row.label])

    @cached_property
    def metrics(self) -> Metrics:
        """The rows by label."""
        return {row.label: row.metrics for row in self.rows}

    @cached_property
    def lead(self) -> str:
        """The metric that models are put in order by: the first mrr, or the first there is."""
        columns = metric_columns({variant.label: _all(variant.metrics) for variant in self.variants}, full=True)
        return next((column for column in columns if column.startswith("mrr@")), columns[0])

    @cached_property
    def firsts(self) -> list[str]:
        """The first recall and the first mrr, for what has room for a few metrics only."""
        return first_of_kinds(self.metrics) or [self.lead]

    def comparisons(self, metric: str) -> list[PairedTest]:
        """The paired tests in a metric; one that runs share is told once, with as many seeds as there are.

        Of several seeds those of the users' means over them, or where these are not known those of every seed.
        """
        tests, keys = list[PairedTest](), list[Set[tuple[str, ...]]]()
        for variant in self.variants:
            for label, runs, comparisons in variant.comparisons:
                for one in comparisons:
                    if one.metric == metric:
                        models = one.model, one.against
                        tests.append(PairedTest(label, variant, runs[0], one))
                        keys.append({(*models, *(_key(run, model) for model in models)) for run in runs})
        return [tests[place] for place in _widest(keys)]

    def standing(self, model: str, variant: Variant) -> Variant:
        """The variant in whose row a model of a variant stands: its own, or one that has it with as many seeds."""
        rows = [row for row in self.rows if row.model == model]
        own = _origin(model, variant)
        return next((row.variant for row in rows if own <= _origin(model, row.variant)), variant)

    @property
    def pooled(self) -> bool:
        """Whether some rows and tests are those of users' means over several seeds."""
        return any(variant.pooled is not None for variant in self.variants)

    @property
    def same_candidates(self) -> bool:
        """Whether all runs rank the very same candidates, as far as is known."""
        return len({run.candidates for run in self.runs}) == 1

    @property
    def split(self) -> str:
        """How examples are parted, in words; empty where the runs do not say."""
        split = self.runs[0].part("data").get("split")
        return f"split by {split}" if split else ""

    @property
    def title(self) -> str:
        """Data and protocol in words."""
        data = self.runs[0].part("data")
        protocols = {name.partition("/")[2] for name in next(iter(self.runs[0].metrics.values()))}
        told = [describe_protocol(protocol) for protocol in sorted(protocols) if protocol]
        tested = self.runs[0].numbers("data", "examples").get("test")
        size = f"{tested:,} test examples" if tested else ""
        return ", ".join(filter(None, [str(data.get("name", self.runs[0].name)), self.split, size, *told]))


def group_runs(runs: Sequence[RunFiles]) -> list[RunGroup]:
    """Groups of runs that may stand in one table, in the order of their first runs."""
    groups = defaultdict(list)
    for run in runs:
        groups[_protocol(run)].append(run)
    return [_group(members) for members in groups.values()]


def first_of_kinds(metrics: Metrics) -> list[str]:
    """The first recall and the first mrr of models, as far as there are such."""
    columns = metric_columns(metrics)
    firsts = [[column for column in columns if column.startswith(f"{kind}@")][:1] for kind in ("recall", "mrr")]
    return [column for first in firsts for column in first]


def settings_text(settings: Mapping[str, Any], varied: Sequence[str]) -> str:
    """`loss listwise, lora_r 8`: the last part of a key where that names it alone."""
    return ", ".join(f"{short_key(key, varied)} {value_text(settings[key])}" for key in settings)


def value_text(value: Any) -> str:
    """A value of a setting in few letters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "+".join(value_text(one) for one in value) or "none"
    return str(value)


def _protocol(run: RunFiles) -> str:
    """What must be equal for results to be comparable; the fingerprint is not in it, for it may depend on the seed."""
    data = run.part("data")
    cleaning = run.part("data", "cleaning")
    tested = {
        key: value
        for key, value in run.settings.items()
        if key.startswith(("data.", "split.", "candidates.")) and key not in LEARNING
    }
    told = {
        "data": [data.get("name"), cleaning.get("users"), cleaning.get("events"), data.get("split")],
        "examples": run.part("data", "examples").get("test"),
        "protocols": sorted({name.partition("/")[2] for values in run.metrics.values() for name in values}),
        "settings": tested,
    }
    return json.dumps(told, sort_keys=True, default=str)


def _group(runs: Sequence[RunFiles]) -> RunGroup:
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    told = [key for key in keys if key not in {*SEEDS, *NAMES, *MODELS} and not key.startswith(MEASURING)]
    varied = {key: values for key in told if len(values := _values(runs, key)) > 1}
    alike = defaultdict(list)
    for run in runs:
        rest = {key: value for key, value in run.settings.items() if key not in {*SEEDS, *NAMES}}
        alike[json.dumps(rest, sort_keys=True, default=str) if rest else str(run.path)].append(run)
    parts = [part for members in alike.values() for part in _by_seeds(members)]
    names = _names(parts, varied)
    variants = [
        Variant(name, _and_seeds(name, part, parts), {key: part[0].settings.get(key) for key in varied}, part)
        for name, part in zip(names, parts, strict=True)
    ]
    return RunGroup(runs, varied, variants)


def _values(runs: Sequence[RunFiles], key: str) -> list[Any]:
    """The different values of a setting: numbers in order, then others as they come."""
    values = {json.dumps(run.settings.get(key), default=str): run.settings.get(key) for run in runs}
    found = list(values.values())
    numbers = sorted(value for value in found if isinstance(value, int | float) and not isinstance(value, bool))
    return [*numbers, *(value for value in found if isinstance(value, bool) or not isinstance(value, int | float))]


def _by_seeds(runs: list[RunFiles]) -> list[list[RunFiles]]:
    """The first run of every seed together, and any other by itself: it is a copy, not a draw."""
    first = dict[tuple[Any, ...], RunFiles]()
    for run in runs:
        first.setdefault(seed_of(run), run)
    return [list(first.values()), *([run] for run in runs if first[seed_of(run)] is not run)]


def _names(parts: Sequence[Sequence[RunFiles]], varied: Mapping[str, list[Any]]) -> list[str]:
    if len(parts) == 1:
        return [""]
    told = [settings_text({key: part[0].settings.get(key) for key in varied}, list(varied)) for part in parts]
    if 0 < len(varied) <= LONGEST and len(set(told)) == len(told):
        return told
    names = [part[0].name for part in parts]
    if len(set(names)) < len(names):
        names = [f"{part[0].path.resolve().parent.name}/{part[0].name}" for part in parts]
    copies = Counter(names)
    return [name if copies[name] == 1 else str(part[0].path) for name, part in zip(names, parts, strict=True)]


def _and_seeds(name: str, part: Sequence[RunFiles], parts: Sequence[Sequence[RunFiles]]) -> str:
    """The name, and beside variants with fewer or more seeds how many more than one there are."""
    more = len(part) - 1
    alike = len({len(one) for one in parts}) == 1
    return name if alike or not more else f"{name} + {more} seed{'' if more == 1 else 's'}"


def _models(variants: Sequence[Variant]) -> list[str]:
    return list(dict.fromkeys(model for variant in variants for model in variant.metrics))


def _rows(model: str, variants: Sequence[Variant]) -> list[Row]:
    having = [variant for variant in variants if model in variant.metrics]
    different = {json.dumps(_rounded(variant.metrics[model]), sort_keys=True) for variant in having}
    own = [having[place] for place in _widest([_origin(model, variant) for variant in having])]
    if len(different) == 1 or len(own) == 1:
        return [Row(model, model, own[0], own[0].metrics[model])]
    return [Row(f"{model}{BETWEEN}{variant.label}", model, variant, variant.metrics[model]) for variant in own]


def _rounded(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, list[int]]:
    """Without the last bits, which depend on the order in which users and seeds were added up."""
    return {name: [round(bound / ROUNDING) for bound in one.values()] for name, one in metrics.items()}


def _key(run: RunFiles, model: str) -> str:
    """What a model was made from; where that is not known, the run's own."""
    return run.model_key(model) or str(run.path)


def _origin(model: str, variant: Variant) -> Set[tuple[str, ...]]:
    """What the model of every seed was made from, and what is measured of it."""
    return {(_key(run, model), *sorted(variant.metrics[model])) for run in variant.runs}


def _widest(sets: Sequence[Set[Any]]) -> list[int]:
    """The places of the sets that are no part of another one; of equal ones, of the first."""
    return [
        place for place, one in enumerate(sets) if one not in sets[:place] and not any(one < other for other in sets)
    ]


def _mean(metrics: Mapping[str, Mapping[str, float]], name: str) -> float:
    return metrics[name]["mean"] if name in metrics else float("-inf")


def _all(metrics: Metrics) -> dict[str, dict[str, float]]:
    return {name: interval for values in metrics.values() for name, interval in values.items()}
