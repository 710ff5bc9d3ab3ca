"""What a setting does: the leading metric of runs that are alike but for it."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from trsr.config import TUNED, short_key
from trsr.evaluation.comparisons import CONTROLS, WITH_SUMMARY
from trsr.evaluation.result_sections import comparison_header, comparison_row
from trsr.evaluation.run_groups import BETWEEN, RunGroup, settings_text, value_text
from trsr.evaluation.sections import Cell, Figure, Section, Table, TableRow
from trsr.evaluation.series import STYLES, Value, bucket_plot
from trsr.evaluation.setting_tests import setting_tests
from trsr.evaluation.table import ROUNDING, UNKNOWN, number
from trsr.evaluation.variants import Variant, seed_of

WIDEST = 8
"""Values of a setting beside each other."""

BY_SUMMARY = (*CONTROLS, *WITH_SUMMARY)
"""The tuned rankers in the order of a chart over what they read of a history."""


@dataclass(frozen=True)
class Line:
    """One model with every value of one setting, all else being equal; null where there is no such run."""

    label: str
    values: list[Value | None]

    @property
    def best(self) -> float:
        """The best of its means, to put lines in order by."""
        return max(value.mean for value in self.values if value is not None)


def ablation_section(group: RunGroup) -> Section | None:
    """A chart and a table for every setting in which runs differ, as far as there are runs that differ in it alone."""
    figures, tables = list[Figure](), list[Table]()
    for key, values in group.varied.items():
        lines = sorted(_lines(group, key, values), key=lambda line: -line.best)
        if not lines:
            continue
        name, title = short_key(key, list(group.varied)), f"{group.lead} by {key}"
        buckets = [value_text(value) for value in values]
        if len(buckets) <= WIDEST:
            figures.append(_figure(title, name, buckets, lines))
        tables.append(_table(title, ["model", *(f"{name} {bucket}" for bucket in buckets)], lines))
    lines = _by_summary(group) if len(group.variants) > 1 else []
    if lines:
        there = [place for place in range(len(BY_SUMMARY)) if any(line.values[place] for line in lines)]
        lines = [Line(line.label, [line.values[place] for place in there]) for line in lines]
        names, title = [BY_SUMMARY[place].removeprefix(TUNED) for place in there], f"{group.lead} by summary"
        figures.append(_figure(title, "what is read of the history", names, lines))
        tables.append(_table(title, ["settings", *names], lines))
    tests = setting_tests(group)
    if tests:
        rows = [comparison_row(test) for test in tests]
        tables.append(Table(comparison_header(), rows, caption="Paired tests with the first run"))
    if not tables:
        return None
    note = (
        f"Runs that are alike but for one setting, in {group.lead} with its interval. A model is left out where the "
        f"setting changes nothing of it; the charts show the best {STYLES} lines."
    )
    if lines:
        note += (
            " “By summary” sets rankers beside each other of runs that are alike in all settings but for their "
            "rankers, called by the first of these runs."
        )
    if tests:
        note += (
            " The tests take every model with that of the first run, user by user, as under “Is it better?”, and are "
            "corrected together; what two runs share is one model and not tested."
        )
        if any(variant.several for variant in group.variants):
            note += (
                " A point is the mean over the seeds of its runs; a test is over those that both have, as far as there "
                "are such, and takes the seeds as given."
            )
    return Section("What the settings do", note, tables=tables, figures=figures)


def _lines(group: RunGroup, key: str, values: list[Any]) -> list[Line]:
    others = [other for other in group.varied if other != key]
    alike = defaultdict[str, list[Variant]](list)
    for variant in group.variants:
        alike[json.dumps([variant.settings[other] for other in others], default=str)].append(variant)
    models = dict.fromkeys(row.model for row in group.rows if not row.is_bound)
    found = []
    for variants in alike.values():
        rest = settings_text({other: variants[0].settings[other] for other in others if len(alike) > 1}, others)
        for model in models:
            means = [_value(group, variants, (key, value), model) for value in values]
            if len({mean for mean in means if mean is not None}) > 1:
                found.append(Line(f"{model}{BETWEEN}{rest}" if rest else model, means))
    return found


def _by_summary(group: RunGroup) -> list[Line]:
    """Runs of the same settings and seeds, whatever rankers they have, as a line over what these read."""
    alike = defaultdict[str, list[Variant]](list)
    for variant in group.variants:
        if variant.runs[0].settings:  # what is not known is not alike
            seeds = sorted(str(seed_of(run)) for run in variant.runs)
            alike[json.dumps([*variant.settings.values(), seeds], default=str)].append(variant)
    found = []
    for variants in alike.values():
        values = [
            next((value for variant in variants if (value := _in_metric(variant, model, group.lead))), None)
            for model in BY_SUMMARY
        ]
        if sum(value is not None for value in values) > 1 and any(values[len(CONTROLS) :]):
            found.append(Line(variants[0].label, values))
    return sorted(found, key=lambda line: -line.best)


def _figure(title: str, axis: str, buckets: list[str], lines: list[Line]) -> Figure:
    return Figure(title, bucket_plot(title, axis, buckets, [(line.label, line.values) for line in lines[:STYLES]]))


def _table(title: str, header: list[str], lines: list[Line]) -> Table:
    return Table(header, [[line.label, *_cells(line)] for line in lines], caption=title)


def _in_metric(variant: Variant, model: str, metric: str) -> Value | None:
    interval = variant.metrics.get(model, {}).get(metric)
    return None if interval is None else Value(**interval)


def _value(group: RunGroup, variants: list[Variant], setting: tuple[str, Any], model: str) -> Value | None:
    """The mean of a model in the runs with one value of a setting, as it stands in the table of results."""
    key, value = setting
    having = [variant for variant in variants if variant.settings[key] == value and model in variant.metrics]
    found = (_in_metric(group.standing(model, variant), model, group.lead) for variant in having)
    return next((one for one in found if one is not None), None)


def _cells(line: Line) -> TableRow:
    return [
        UNKNOWN
        if value is None
        else Cell(number(value.mean), value.bounds, tone="best" if value.mean >= line.best - ROUNDING else "")
        for value in line.values
    ]
