"""What came out, and how sure it is: the table of models, the tests between them, and what another seed would do."""

from trsr.evaluation.charts import interval_plot
from trsr.evaluation.comparisons import Comparison, p_text
from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.protocol import describe_protocol
from trsr.evaluation.run_groups import RunGroup, first_of_kinds
from trsr.evaluation.sections import Cell, Figure, Section, Table, TableRow
from trsr.evaluation.seeds import SeedSpread
from trsr.evaluation.table import UNKNOWN, best_models, metric_columns, number, shared_protocol, with_bounds

NOT_FOR_RUNS = "The tests of a run, or of seeds together, are corrected for each other, and not for the number of runs."

PLOTTED = 16
"""Rows of an interval plot; a long table has more."""

FIRST_SEED = "Of several seeds, the first is shown."
"""Said where something is told of one run."""

OVER_SEEDS = "Of several seeds, a user's value is the mean over those that it was tested with."
"""Said where rows or tests are those of users' means."""

COMPARED = 40
"""Comparisons of several runs that are shown in two metrics; more are shown in one."""


def headline(group: RunGroup) -> str:
    """The best model by the leading metric, beside chance, popularity and, for a ranker, the best without one."""
    metric = group.lead
    scored = {row.label: row for row in group.rows if metric in row.metrics}
    models = [row for row in scored.values() if not row.is_bound]
    if not models:
        return "No model beside chance was evaluated."
    best = models[0]
    rest = [row for row in models if not row.is_tuned and row is not best]
    named = [row for row in rest if "popular" in row.model.lower()][:1]
    others = [row for row in scored.values() if row.model == CHANCE]
    others += [row for row in rest if row in named or (best.is_tuned and row is rest[0])]
    name, _, protocol = metric.partition("/")
    against = f" over {describe_protocol(protocol)}" if protocol else ""
    names = [f"{row.label} {number(row.metrics[metric]['mean'])}" for row in others]
    beside = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    told = f"{best.label} ranks best: {name} {with_bounds(best.metrics[metric])}{against}"
    return f"{told}, beside {beside}." if beside else f"{told}."


def results_section(group: RunGroup) -> Section:
    """Models as rows, metrics as columns, and the first recall and mrr as interval plots."""
    columns = metric_columns(group.metrics)
    protocol = shared_protocol(columns)
    models = {row.label: row.metrics for row in group.rows if not row.is_bound}
    best = {column: best_models(models, column) if models else set() for column in columns}
    rows: list[TableRow] = [
        [
            Cell(row.label, tone="quiet" if row.is_bound else ""),
            *(_cell(row.metrics.get(column), row.label in best[column], row.is_bound) for column in columns),
        ]
        for row in group.rows
    ]
    header = ["model", *columns]
    shown = _plotted(group)
    figures = [Figure(metric, interval_plot(shown, metric)) for metric in group.firsts]
    return Section(
        "Results",
        _results_note(group, protocol),
        tables=[Table(header, rows, caption="Models by metric")],
        figures=figures,
    )


def comparisons_section(group: RunGroup) -> Section | None:
    """The paired tests of every run, or of all seeds together, in the first recall and mrr."""
    found = [one for metric in group.firsts for one in group.comparisons(metric)]
    several = any(one.label for one in found)
    if len(found) > COMPARED and several:
        found = [one for one in found if one.test.metric == group.lead]
    if not found:
        return None
    users = sorted({one.test.users for one in found})
    told = f"{users[0]:,}" if len(users) == 1 else f"{users[0]:,} to {users[-1]:,}"
    note = (
        "Each difference is taken user by user, with its 95 % interval; p is that of a sign-flip test over users, "
        "after Holm’s correction over all comparisons of one kind of metric. “Could show” is the difference that one "
        f"such test, uncorrected, finds 4 times in 5 with {told} users."
    )
    if group.pooled:
        note += f" {OVER_SEEDS} p takes the seeds as given: it is about other users, not about other seeds."
    if any(run.comparisons for run in group.runs):
        note += f" {'The tests of each seed' if group.pooled else 'All metrics'} are in comparisons.json."
    if several:
        note += f" {NOT_FOR_RUNS}"
    rows = [comparison_row(one.test, *([one.label] if several else [])) for one in found]
    table = Table(comparison_header(run=several), rows, caption="Paired tests between models")
    return Section("Is it better?", note, tables=[table])


def seeds_section(group: RunGroup) -> Section | None:
    """Mean and spread of what was run with several seeds."""
    several = [variant for variant in group.variants if variant.several]
    if not several:
        return None
    told = dict.fromkeys(metric for variant in several for metric in first_of_kinds(variant.metrics))
    rows, firsts = [], list(told) or [group.lead]
    for variant in several:
        means = {model: one[firsts[-1]].mean for model, one in variant.spread.items() if firsts[-1] in one}
        for model in sorted(variant.spread, key=lambda name: (name != CHANCE, -means.get(name, 0.0))):
            spreads = [variant.spread[model].get(metric) for metric in firsts]
            counted = max((one.runs for one in spreads if one is not None), default=0)
            cells = [cell for one in spreads for cell in _spread_cells(one)]
            rows.append([model, *([variant.label] if len(group.variants) > 1 else []), str(counted), *cells])
    seeds = ", ".join(dict.fromkeys(seed for one in several for seed in one.seeds))
    header = [part for metric in firsts for part in (f"{metric} mean", "sd", "least to greatest")]
    middle = ["settings"] if len(group.variants) > 1 else []
    note = (
        f"Runs that differ in the seed only, here {seeds}. The sd is that of all that the seed decides: training, and "
        "where the candidates differ the drawing of those and of test examples. A lead of one seed that is smaller is "
        "none."
    )
    table = Table(["model", *middle, "runs", *header], rows, caption="Mean and spread over seeds")
    return Section("Several seeds", note, tables=[table])


def _spread_cells(one: SeedSpread | None) -> list[str]:
    if one is None:
        return [UNKNOWN] * 3
    sd = UNKNOWN if one.sd is None else number(one.sd)
    return [number(one.mean), sd, f"{number(one.low)} to {number(one.high)}"]


def _cell(interval: dict[str, float] | None, best: bool, bound: bool) -> Cell:
    mean, _, bounds = with_bounds(interval).partition(" ")
    return Cell(mean, bounds, "best" if best else "quiet" if bound else "")


def _results_note(group: RunGroup, protocol: str) -> str:
    ranked = f"; every target ranked among {describe_protocol(protocol)}" if protocol else ""
    held_out = f"; examples {group.split}" if group.split else ""
    note = f"Mean over users with its 95 % bootstrap interval{ranked}{held_out}. "
    if group.pooled:
        note += f"{OVER_SEEDS} "
    if any(variant.several and variant.pooled is None for variant in group.variants):
        note += (
            "Of several seeds that do not all tell their users' values for the same models: the mean of the runs, with "
            "the least and the greatest. "
        )
    note += "Tied scores count as the mean over all orders. The best mean of each column is bold."
    if len(group.variants) > 1 and any("inputs" in run.manifest for run in group.runs):
        note += (
            " A model that runs have from the same inputs is one, and stands there once, under the run with the most "
            "seeds, of equals the first."
        )
    if len(group.variants) > 1 and not group.same_candidates:
        note += (
            " The runs do not rank the same candidates, so differences between runs are also those of who was asked."
        )
    if len(_plotted(group)) < len(group.rows):
        note += f" The plots show the first {PLOTTED} rows."
    return note


def _plotted(group: RunGroup) -> Metrics:
    return {row.label: row.metrics for row in group.rows[:PLOTTED]}


def comparison_header(*, run: bool = False) -> list[str]:
    """Over rows of comparisons, with a second column for their `run`."""
    return ["model", *(["run"] if run else []), "against", "metric", "difference", "p", "could show"]


def comparison_row(one: Comparison, *run: str) -> TableRow:
    """A comparison as the cells of a table; `run` is a second cell."""
    p = p_text(one.p_holm).removeprefix("p ").removeprefix("= ")
    detectable = UNKNOWN if one.smallest_detectable is None else number(one.smallest_detectable)
    difference = Cell(number(one.difference), f"[{number(one.low)}, {number(one.high)}]", "best" if one.shown else "")
    return [one.model, *run, one.against, one.metric, difference, p, detectable]
