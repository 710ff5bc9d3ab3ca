"""What a setting does: the leading metric of runs that are alike but for it."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from trsr.config import short_key
from trsr.evaluation.result_sections import COMPARISON_HEADER, comparison_row
from trsr.evaluation.run_groups import BETWEEN, RunGroup, Variant, settings_text, value_text
from trsr.evaluation.sections import Cell, Figure, Section, Table, TableRow
from trsr.evaluation.series import STYLES, Value, bucket_plot
from trsr.evaluation.setting_tests import setting_tests
from trsr.evaluation.table import UNKNOWN, number

WIDEST = 8
"""Values of a setting beside each other."""


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
            shown = [(line.label, line.values) for line in lines[:STYLES]]
            figures.append(Figure(title, bucket_plot(title, name, buckets, shown)))
        rows = [[line.label, *_cells(line)] for line in lines]
        tables.append(Table(["model", *(f"{name} {bucket}" for bucket in buckets)], rows, caption=title))
    tests = setting_tests(group)
    if tests:
        rows = [comparison_row(test) for test in tests]
        tables.append(Table(COMPARISON_HEADER, rows, caption="Paired tests with the first run"))
    if not tables:
        return None
    note = (
        f"Runs that are alike but for one setting, in {group.lead} with its interval. A model is left out where the "
        f"setting changes nothing of it; the charts show the best {STYLES} lines."
    )
    if tests:
        note += (
            " The tests take every model with that of the first run, user by user, as under “Is it better?”, and are "
            "corrected together; what two runs share is one model and not tested; over several seeds, a user's value "
            "is the mean."
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
            means = [_value(variants, key, value, model, group.lead) for value in values]
            if len({mean for mean in means if mean is not None}) > 1:
                found.append(Line(f"{model}{BETWEEN}{rest}" if rest else model, means))
    return found


def _value(variants: list[Variant], key: str, value: Any, model: str, metric: str) -> Value | None:
    for variant in variants:
        if variant.settings[key] == value and metric in variant.metrics.get(model, {}):
            return Value(**variant.metrics[model][metric])
    return None


def _cells(line: Line) -> TableRow:
    return [
        UNKNOWN
        if value is None
        else Cell(number(value.mean), value.bounds, tone="best" if value.mean == line.best else "")
        for value in line.values
    ]
