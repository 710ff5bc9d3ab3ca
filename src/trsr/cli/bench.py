"""`trsr bench`: how long a task takes in each way, on this machine, and how near ours comes to the least."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trsr.cli.output import Json, print_json

if TYPE_CHECKING:
    from trsr.benchmarks.bench import Report
    from trsr.benchmarks.importing import ImportResult
    from trsr.benchmarks.summarizing import SummaryResult

app = typer.Typer(no_args_is_help=True, help="Measure on this machine.")

Model = Annotated[str, typer.Option(help="Model: a folder, a hub id or the embedded model.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")]
Prefix = Annotated[list[int], typer.Option(min=1, help="Tokens of the prefix, repeatable.")]
Suffix = Annotated[list[int], typer.Option(min=1, help="Tokens of a candidate's suffix, repeatable.")]
Candidates = Annotated[list[int], typer.Option(min=1, help="Candidates of the user, repeatable.")]
Chosen = Annotated[list[str] | None, typer.Option("--method", help="A method, repeatable; all if not given.")]
Attention = Annotated[str, typer.Option(help="How packed rows are attended to: auto, measure, blocks, mask or flex")]
Repeats = Annotated[int, typer.Option(min=1, help="Rounds; slow methods take part in fewer.")]
Growth = Annotated[
    bool, typer.Option("--growth", help="Candidates from 2 to 1,000, then a prefix from 200 to 4,000 tokens.")
]
LimitSeconds = Annotated[
    float,
    typer.Option(help="With --growth: leave out a method where a call would take longer, judged from a smaller case."),
]
RandomWeights = Annotated[str | None, typer.Option(help="Random weights of a size instead of a model: 7b")]
Force = Annotated[bool, typer.Option("--force", help="Measure random weights on a CPU too.")]
Ragged = Annotated[
    bool,
    typer.Option("--ragged", help="Suffixes of half to one and a half times --suffix tokens, which stays the mean."),
]
Plot = Annotated[Path | None, typer.Option(help="Where to write the results as an SVG chart.")]

_PEAKS = {
    "cuda": "peak MB: most memory that PyTorch had allocated on the device during a call, weights included",
    "cpu": "peak MB: largest resident memory of the whole process during a call, weights and Python included",
}


@app.command("score")
def score(
    model: Model = "smollm2-135m-instruct",
    dtype: Dtype = "bfloat16",
    prefix: Prefix = [800],  # noqa: B006 - typer copies it
    suffix: Suffix = [70],  # noqa: B006
    candidates: Candidates = [21],  # noqa: B006
    method: Chosen = None,
    attention: Attention = "auto",
    repeats: Repeats = 5,
    growth: Growth = False,
    limit_seconds: LimitSeconds = 120.0,
    ragged: Ragged = False,
    random_weights: RandomWeights = None,
    force: Force = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Time the ways to score one user's candidates: published, batched, crossencoder, trsr, trsr_returning, limit."""
    from trsr.benchmarks.bench import Plan, bench_scoring

    _check_plot(plot)
    plan = Plan(
        *(model, dtype, prefix, suffix, candidates, method or (), attention, repeats),
        *(random_weights, force, growth, limit_seconds, ragged),
    )
    _show(bench_scoring(plan), plot, as_json)


@app.command("train")
def train(
    model: Model = "smollm2-135m-instruct",
    dtype: Dtype = "bfloat16",
    prefix: Prefix = [600],  # noqa: B006
    suffix: Suffix = [60],  # noqa: B006
    candidates: Candidates = [5, 21],  # noqa: B006
    method: Chosen = None,
    loss: Annotated[str, typer.Option(help="binary, listwise or pairwise")] = "binary",
    lora_r: Annotated[int, typer.Option(min=1, help="Rank of LoRA.")] = 8,
    attention: Attention = "auto",
    repeats: Repeats = 5,
    growth: Growth = False,
    limit_seconds: LimitSeconds = 120.0,
    ragged: Ragged = False,
    random_weights: RandomWeights = None,
    force: Force = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Time the ways to compute the gradient of one user's candidates: separate, trsr, limit."""
    from trsr.benchmarks.bench import Plan, bench_training

    _check_plot(plot)
    plan = Plan(
        *(model, dtype, prefix, suffix, candidates, method or (), attention, repeats),
        *(random_weights, force, growth, limit_seconds, ragged),
    )
    _show(bench_training(plan, loss, lora_r), plot, as_json)


@app.command("summarize")
def summarize(
    folder: Annotated[Path | None, typer.Argument(help="Dataset folder; the built-in bookshop if none.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment YAML whose data, prompt and summaries hold.")] = None,
    users: Annotated[int, typer.Option(min=1, help="Users to summarise.")] = 64,
    published_users: Annotated[int, typer.Option(min=1, help="Of these in the published way, which is slow.")] = 8,
    rerun_users: Annotated[int, typer.Option(min=1, help="Users that a rerun looks at.")] = 50_000,
    method: Chosen = None,
    as_json: Json = False,
) -> None:
    """Time the ways to summarise: published, backend_best, trsr, trsr_incremental, trsr_rerun."""
    from trsr.benchmarks.summarizing import bench_summaries, plan_for

    results = bench_summaries(plan_for(folder, config, (users, published_users, rerun_users), method or ()))
    if as_json:
        print_json([result.row for result in results])
    else:
        _show_summaries(results)


@app.command("import")
def import_(
    dataset: Annotated[list[str] | None, typer.Option(help="mind or m2, repeatable; both if not given.")] = None,
    scale: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the size of the true data set.")] = 1.0,
    step: Annotated[
        list[str] | None, typer.Option(help="import, open, read, sample or render, repeatable; all if not given.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="The best of so many counts.")] = 2,
    model: Annotated[str, typer.Option(help="Model whose tokenizer counts tokens.")] = "smollm2-135m-instruct",
    folder: Annotated[
        Path | None, typer.Option(help="Where look-alikes and imports are kept, and found again; nowhere if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time an import beside a plain read, and opening, sampling and rendering, on look-alikes of public data sets."""
    from trsr.benchmarks.importing import STEPS, ImportPlan, bench_import
    from trsr.benchmarks.lookalikes.folders import ORIGINALS

    plan = ImportPlan(dataset or tuple(ORIGINALS), scale, step or STEPS, rounds, model, folder)
    results = bench_import(plan)
    if as_json:
        print_json([result.row for result in results])
    else:
        _show_imports(results, scale)


def _show_imports(results: "list[ImportResult]", scale: float) -> None:
    from rich.console import Console

    from trsr.benchmarks.table import imports_table
    from trsr.experiment.machine import describe_machine

    machine = describe_machine()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(f"import of look-alikes, scale {scale:g}: {machine['threads']} threads")
    console.print(imports_table(results))
    console.print("peak MB: largest resident memory of the process of a step, Python included")


def _show_summaries(results: "list[SummaryResult]") -> None:
    from rich.console import Console

    from trsr.benchmarks.table import summaries_table

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(f"summaries, recurrent: {results[0].model}, {results[0].device}")
    console.print(summaries_table(results))


def _check_plot(plot: Path | None) -> None:
    """Before the measuring, which may take an hour."""
    from trsr.errors import ConfigError

    if plot is not None and (plot.suffix != ".svg" or plot.is_dir() or not plot.parent.is_dir()):
        raise ConfigError(f"--plot {plot}: give the name of an .svg file in a folder that is there")


def _show(report: "Report", plot: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from trsr.benchmarks.plot import benchmark_plot
    from trsr.benchmarks.table import benchmark_table

    if plot is not None:
        plot.write_text(benchmark_plot(report.results, report.title), encoding="utf-8")
    if as_json:
        print_json(report.rows)
        return
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(report.title)
    console.print(benchmark_table(report.results, report.peak_operations))
    console.print("tokens/s: the P + N * S tokens of a case by the seconds of a method, whatever it reads itself")
    console.print(_PEAKS["cuda" if report.device.startswith("cuda") else "cpu"])
