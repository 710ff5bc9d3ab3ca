"""One self-contained HTML page of a run folder: what came out, how sure it is, and one reader's case."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from trsr.evaluation.charts import interval_plot, loss_curves, recall_curves
from trsr.evaluation.comparisons import p_text
from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.page import render_page
from trsr.evaluation.protocol import describe_protocol
from trsr.evaluation.run_files import RunFiles, Story, read_run
from trsr.evaluation.table import best_models, metric_columns, model_rows, number, shared_protocol, with_bounds
from trsr.evaluation.word_diff import added_words
from trsr.files import write_text

GOOD = {"ok", "pass", "passed"}

Segment = tuple[str, bool]


@dataclass(frozen=True)
class Cell:
    """A metric of one model in the main table."""

    mean: str
    bounds: str
    best: bool


@dataclass(frozen=True)
class StoryStep:
    """One summarising step: the items of its block and the summary after it, as (text, is it new) segments."""

    title: str
    items: list[str]
    summary: list[Segment]
    added: int


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, whole or not at all, and return its path.

    Needs config.yaml, manifest.json and metrics.json; training logs, stories.json, checks.json and
    summaries.parquet each add their section. Raises `DataError` naming a file that is missing or malformed.
    """
    page = render_report(read_run(run))
    target = run / "report.html"
    write_text(target, page)
    return target


def render_report(files: RunFiles) -> str:
    """The page as text; everything that comes from data is escaped."""
    columns = metric_columns(files.metrics)
    protocol = shared_protocol(columns)
    curves = zip_longest(recall_curves(files.training), loss_curves(files.training))
    firsts = [first for kind in ("recall", "mrr") for first in [c for c in columns if c.startswith(f"{kind}@")][:1]]
    return render_page(
        "report.html.j2",
        run=files,
        headline=headline(files.metrics),
        protocol=describe_protocol(protocol),
        columns=[column.removesuffix(f"/{protocol}") for column in columns],
        table={model: _cells(files.metrics, model, columns) for model in model_rows(files.metrics)},
        comparisons=[
            comparison for metric in firsts for comparison in files.comparisons if comparison.metric == metric
        ],
        p_text=p_text,
        intervals=[interval_plot(files.metrics, metric) for metric in firsts],
        curves=[plot for pair in curves for plot in pair if plot],
        stories=[(story, story_steps(story)) for story in files.stories],
        good=GOOD,
    )


def headline(metrics: Metrics) -> str:
    """The best model by the first mrr metric (any first metric without one), beside chance and popularity."""
    columns = metric_columns(metrics, full=True)
    metric = next((column for column in columns if column.startswith("mrr@")), columns[0])
    scored = {model: values for model, values in metrics.items() if metric in values}
    models = {model: values for model, values in scored.items() if model != CHANCE}
    if not models:
        return "No model beside chance was evaluated."
    best = next(model for model in models if model in best_models(models, metric))
    others = [CHANCE] if CHANCE in scored else []
    others += [model for model in models if "popular" in model.lower() and model != best][:1]
    name, _, protocol = metric.partition("/")
    against = f" over {describe_protocol(protocol)}" if protocol else ""
    beside = " and ".join(f"{model} {number(scored[model][metric]['mean'])}" for model in others)
    return f"{best} ranks best: {name} {with_bounds(models[best][metric])}{against}" + (
        f", beside {beside}." if beside else "."
    )


def story_steps(story: Story) -> list[StoryStep]:
    """Blocks and summaries side by side; where each summary rewrites the one before it, new words are marked."""
    grows = story.method == "recurrent"
    steps = []
    for index in range(max(len(story.blocks), len(story.steps))):
        in_blocks = index < len(story.blocks)
        after = story.steps[index] if index < len(story.steps) else ""
        before = story.steps[index - 1] if grows and 0 < index < len(story.steps) else after
        summary = added_words(before, after)
        steps.append(
            StoryStep(
                title=f"Block {index + 1}" if in_blocks else "Merged",
                items=story.blocks[index] if in_blocks else [],
                summary=summary,
                added=sum(len(text.split()) for text, new in summary if new),
            )
        )
    return steps


def _cells(metrics: Metrics, model: str, columns: list[str]) -> list[Cell]:
    texts = [with_bounds(metrics[model].get(column)).partition(" ") for column in columns]
    return [
        Cell(mean, bounds, model in best_models(metrics, column))
        for column, (mean, _, bounds) in zip(columns, texts, strict=True)
    ]
