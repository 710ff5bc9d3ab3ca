"""Who the results are good for: by the length of a user's history, and by how well the target is known."""

from collections.abc import Sequence

from trsr.evaluation.comparisons import RECENT, WITH_SUMMARY
from trsr.evaluation.evaluate import CHANCE
from trsr.evaluation.intervals import Interval
from trsr.evaluation.result_sections import FIRST_SEED
from trsr.evaluation.run_files import Segment
from trsr.evaluation.run_groups import Row, RunGroup
from trsr.evaluation.sections import Cell, Figure, Section, Table, TableRow
from trsr.evaluation.series import STYLES, Value, bucket_plot
from trsr.evaluation.table import UNKNOWN, number

TITLES = {
    "history": ("history length", "events of the user before the target"),
    "popularity": ("item popularity", "training events of the target"),
    "item": ("known items", "training events of the target"),
    "user": ("known users", "training events of the user"),
}
"""The segments of `segments.json` in the order of the page: their names, and what is counted."""


def segments_section(group: RunGroup) -> Section | None:
    """A chart and a table of the first recall for every way of parting the test examples; nothing without segments."""
    metric = group.firsts[0]
    rows = [row for row in group.rows if row.run.segments]
    found = {segment.group for row in rows for segment in row.run.segments.values()}
    known = [kind for kind in TITLES if kind in found] + sorted(found - set(TITLES))
    figures, tables, alone = list[Figure](), list[Table](), list[str]()
    for kind in known:
        parts = [one for row in rows for one in row.run.segments.values() if one.group == kind]
        buckets = list(dict.fromkeys(one.bucket for one in sorted(parts, key=lambda one: one.low)))
        values = {row.label: [_value(row, kind, bucket, metric) for bucket in buckets] for row in rows}
        shown = [(_name(row), values[row.label]) for row in _shown(rows) if any(values[row.label])]
        title, counted = TITLES.get(kind, (kind, kind))
        if len(buckets) == 1:
            alone.append(f"by {title}, {buckets[0]} ({counted})")
        if len(buckets) < 2 or not shown:
            continue
        whole = f"{metric} by {title}"
        figures.append(Figure(whole, bucket_plot(whole, counted, buckets, shown)))
        tables.append(_table(whole, rows, kind, buckets, values))
    if not figures and not alone:
        return None
    told = list[str]()
    if figures:
        told.append(
            f"{metric}, the mean over the users of each part of the test examples, with its 95 % interval. The charts "
            f"show chance, the best baseline, the best ranker with a summary and {RECENT}, as far as there are such, "
            f"and the best of the rest, at most {STYLES} in all."
        )
    if alone:
        told.append(f"All test examples are in one part {'; '.join(alone)}.")
    if figures and len(group.runs) > len(group.variants):
        told.append(FIRST_SEED)
    return Section("For whom", " ".join(told), tables=tables, figures=figures)


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Chance, the best of the kinds that are asked about and the best of the rest, in the order of the table."""
    models = [row for row in rows if not row.is_bound]
    asked = [
        *[row for row in models if not row.is_tuned and f"mixes.{row.model}" not in row.run.settings][:1],
        *[row for row in models if row.model in WITH_SUMMARY][:1],
        *[row for row in models if row.model == RECENT][:1],
    ]
    best = [*asked, *(row for row in models if row not in asked)][: STYLES - 1]
    chance = [row for row in rows if row.model == CHANCE][:1]
    return [row for row in rows if row in (*chance, *best)]


def _name(row: Row) -> str:
    """As in the table, but for the one chance of a chart, which has a style of its own."""
    return CHANCE if row.model == CHANCE else row.label


def _segment(row: Row, kind: str, bucket: str) -> Segment | None:
    segments = row.run.segments.values()
    return next((one for one in segments if one.group == kind and one.bucket == bucket), None)


def _value(row: Row, kind: str, bucket: str, metric: str) -> Value | None:
    segment = _segment(row, kind, bucket)
    found: Interval | None = segment.metrics.get(row.model, {}).get(metric) if segment else None
    return Value(found.mean, found.low, found.high) if found else None


def _table(
    title: str, rows: Sequence[Row], kind: str, buckets: Sequence[str], values: dict[str, list[Value | None]]
) -> Table:
    first = rows[0]
    sizes = [segment.examples if (segment := _segment(first, kind, bucket)) else 0 for bucket in buckets]
    lines: list[TableRow] = [
        [label, *(UNKNOWN if one is None else Cell(number(one.mean), one.bounds) for one in line)]
        for label, line in values.items()
    ]
    lines.insert(0, ["test examples", *(f"{size:,}" for size in sizes)])
    return Table(["model", *buckets], lines, caption=title, folded=True)
