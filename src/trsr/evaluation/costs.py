"""What a model's quality costs: tokens and seconds for each user that is ranked for, beside its metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trsr.config import TUNED
from trsr.evaluation.result_sections import FIRST_SEED
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.run_groups import Row, RunGroup
from trsr.evaluation.sections import Figure, Section, Table
from trsr.evaluation.series import Value, scatter_plot
from trsr.evaluation.table import UNKNOWN, number

COLUMNS = ("seconds", "tokens", "summary seconds", "summary tokens", "tuning seconds")
MOST_MADE = 0.5
RESOLUTION = 0.1
"""Seconds of a stage are written down to a tenth."""

WHOLE = 10
"""Seconds from here on are told as whole ones."""


@dataclass(frozen=True)
class Cost:
    """Of one model; null where the run does not say.

    `seconds` and `tokens` are of ranking for one test example, `summary_seconds` and `summary_tokens` of writing its
    summary (tokens read and written), `tuning` the seconds of training, or of fitting every setting that was tried.
    """

    seconds: float | None
    tokens: float | None
    summary_seconds: float | None
    summary_tokens: float | None
    tuning: float | None

    @property
    def is_known(self) -> bool:
        """Whether the run says anything of it."""
        return any(value is not None for value in vars(self).values())

    @property
    def all_seconds(self) -> float | None:
        """Of the summary and of ranking; None where a summary was written and nobody knows how long that took."""
        if self.seconds is None or (self.summary_seconds is None and self.summary_tokens is not None):
            return None
        return self.seconds + (self.summary_seconds or 0)

    @property
    def all_tokens(self) -> float | None:
        """Of the summary and of ranking."""
        return None if self.tokens is None else self.tokens + (self.summary_tokens or 0)


def costs_section(group: RunGroup) -> Section | None:
    """A table, and the leading metric against seconds and against tokens."""
    costs = {row.label: cost_of(row.model, row.run) for row in group.rows if not row.is_bound}
    rows = [row for row in group.rows if row.label in costs and costs[row.label].is_known]
    if not rows:
        return None
    columns = {metric: [_metric(row, metric) for row in rows] for metric in group.firsts}
    cells = [_cells(costs[row.label], row.run) for row in rows]
    told = {name: list(column) for name, column in zip(COLUMNS, zip(*cells, strict=True), strict=True)}
    columns |= {name: column for name, column in told.items() if set(column) != {UNKNOWN}}
    table = [list(line) for line in zip([row.label for row in rows], *columns.values(), strict=True)]
    figures = [
        *_figure(group, rows, "seconds a user", lambda row: _drawable(costs[row.label].all_seconds, row.run)),
        *_figure(group, rows, "tokens a user", lambda row: costs[row.label].all_tokens),
    ]
    caption = "Quality and cost of ranking for one user"
    return Section(
        "Quality against cost",
        _note(group),
        tables=[Table(["model", *columns], table, caption=caption)],
        figures=figures,
    )


def cost_of(model: str, run: RunFiles) -> Cost:
    """What the manifest of a run says of one model; a mix costs what all models in it do."""
    parts = run.settings.get(f"mixes.{model}")
    return _of_one(model, run) if parts is None else _added([_of_one(part, run) for part in parts])


def _added(costs: Sequence[Cost]) -> Cost:
    """The costs of several models: seconds where all tell theirs, tokens of those that read any."""
    timed = all(cost.summary_seconds is not None for cost in costs if cost.summary_tokens is not None)
    return Cost(
        seconds=_sum(costs, "seconds", len(costs)),
        tokens=_sum(costs, "tokens"),
        summary_seconds=_sum(costs, "summary_seconds") if timed else None,
        summary_tokens=_sum(costs, "summary_tokens"),
        tuning=_sum(costs, "tuning", len(costs)),
    )


def _sum(costs: Sequence[Cost], name: str, fewest: int = 1) -> float | None:
    """The sum of what is known, where that many are known."""
    known = [value for cost in costs if (value := getattr(cost, name)) is not None]
    return sum(known) if len(known) >= fewest else None


def _of_one(model: str, run: RunFiles) -> Cost:
    seconds, counts = run.numbers("seconds"), run.numbers("scoring", model)
    examples = run.numbers("data", "examples")
    tested = examples.get("test")
    spent = seconds.get(f"score {model}")
    prompts, tokens = counts.get("prompts"), counts.get("prefix_tokens", 0) + counts.get("suffix_tokens", 0)
    return Cost(
        seconds=spent / tested if tested and spent is not None else None,
        tokens=tokens / prompts if prompts else None,
        summary_seconds=_of_summary(_summary_seconds(run), model, run),
        summary_tokens=_of_summary(_tokens(run.numbers("summaries", "calls")), model, run),
        tuning=seconds.get(f"train {model}", seconds.get(f"tune {model}")),
    )


def _of_summary(of_all: float | None, model: str, run: RunFiles) -> float | None:
    """What the summary of one example cost, of what all cost: a method gets the share of its tokens.

    A run that does not tell them by method, as older ones do not, is shared out by calls.
    """
    method = model.removeprefix(TUNED)
    own = {name: _tokens(run.numbers("summaries", "methods", name)) or 0 for name in run.part("summaries", "methods")}
    shares = own if method in own else run.summary_calls
    share, whole = shares.get(method, 0), sum(shares.values())
    examples = sum(run.numbers("data", "examples").values())
    return of_all * share / whole / examples if of_all is not None and share > 0 and whole > 0 and examples else None


def _tokens(used: Mapping[str, float]) -> float | None:
    return used.get("tokens_in", 0) + used.get("tokens_out", 0) if used else None


def _summary_seconds(run: RunFiles) -> float | None:
    """Of all calls, each counted for every summary that it is part of, as its tokens are.

    Known where the run made most of them itself; those that it found made are taken to have been as long.
    """
    calls, made = run.numbers("summaries", "calls").get("calls", 0), run.numbers("summaries", "of_these_made_now")
    if "seconds" not in made or made.get("calls", 0) < MOST_MADE * calls:
        return None
    return made["seconds"] * calls / made["calls"] if made["calls"] else None


def _figure(group: RunGroup, rows: list[Row], title: str, cost: Callable[[Row], float | None]) -> list[Figure]:
    """The leading metric against one cost, each model in its best run, where at least two models have it."""
    best = {row.model: row for row in reversed(rows)}
    points = [
        (model, value, Value(**row.metrics[group.lead]))
        for model, row in list(best.items())[::-1]
        if (value := cost(row)) and group.lead in row.metrics
    ]
    if len(points) < 2:
        return []
    whole = f"{group.lead} against {title}"
    return [Figure(whole, scatter_plot(whole, title, points))]


def _drawable(seconds: float | None, run: RunFiles) -> float | None:
    """A logarithmic axis has no 0: what took less than can be seen stands at half of that."""
    if seconds:
        return seconds
    tested = run.numbers("data", "examples").get("test")
    return None if seconds is None or not tested else RESOLUTION / 2 / tested


def _metric(row: Row, column: str) -> str:
    return number(row.metrics[column]["mean"]) if column in row.metrics else UNKNOWN


def _cells(cost: Cost, run: RunFiles) -> list[str]:
    tested = run.numbers("data", "examples").get("test", 1)
    return [
        seconds_text(cost.seconds, tested),
        count_text(cost.tokens),
        seconds_text(cost.summary_seconds, tested),
        count_text(cost.summary_tokens),
        count_text(cost.tuning),
    ]


def seconds_text(seconds: float | None, tested: float) -> str:
    """Two digits, whole seconds from ten on, and what so many test examples can show at least in place of 0."""
    if seconds == 0:
        return f"< {RESOLUTION / tested:.2g}"
    return UNKNOWN if seconds is None else f"{seconds:.2g}" if seconds < WHOLE else f"{seconds:,.0f}"


def count_text(value: float | None) -> str:
    """A whole number."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def _note(group: RunGroup) -> str:
    devices = dict.fromkeys(str(run.part("machine").get("device", "unknown")) for run in group.runs)
    note = (
        f"Of one test example: seconds of ranking on {' and '.join(devices)}, tokens of its prompts, and seconds of "
        "its summary with the tokens that it read and wrote. A mix costs what its models cost. Seconds are those of "
        f"the stage, written to {RESOLUTION} s; those of the summaries of all methods are shared out by their tokens. "
        "Tuning is spent once. The charts add ranking and summary."
    )
    if any(run.summary_calls and not run.part("summaries", "methods") for run in group.runs):
        note += " Where a run does not tell the tokens of its summaries by method, they are shared out by calls."
    if len(group.variants) > 1:
        note += " They show every model in its best run."
    if any(variant.several for variant in group.variants):
        note += f" {FIRST_SEED}"
    if any("taken" in run.manifest for run in group.runs):
        note += " What a cell of a grid took over from another cell has no seconds."
    return note
