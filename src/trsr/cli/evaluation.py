"""`trsr evaluate` and `trsr report`: numbers from any scores file, and the page of runs."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, print_comparisons, print_json, print_metrics

COMPARISONS = "comparisons"


def evaluate(
    candidates: Annotated[Path, typer.Argument(help="candidates.parquet")],
    scores: Annotated[list[Path], typer.Argument(help="One or more scores.parquet; the file name names the model.")],
    k: Annotated[list[int] | None, typer.Option(help="Cut-offs, repeatable; 3, 5 and 10 where not given.")] = None,
    against: Annotated[
        str | None, typer.Option(help="The model to compare the others with; the first scores file where not given.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every metric, and every comparison.")] = False,
    as_json: Json = False,
) -> None:
    """Metrics with intervals for any scores file, beside chance, and whether one is better than another."""
    from dataclasses import asdict

    from trsr.config import EvaluationConfig, parse_settings
    from trsr.data.candidates import read_candidates
    from trsr.data.reading import Tables
    from trsr.errors import ConfigError
    from trsr.evaluation.comparisons import compare_with
    from trsr.evaluation.evaluate import evaluate as measure

    names = [path.stem for path in scores]
    if len(set(names)) < len(names):
        raise ConfigError(f"evaluate: two scores files share a name among {', '.join(names)}; rename one")
    if COMPARISONS in names:
        raise ConfigError(f"evaluate: {COMPARISONS} names a part of what is printed; rename that scores file")
    config = parse_settings(EvaluationConfig, {"ks": k} if k else {}, "evaluate")
    evaluation = measure(read_candidates(candidates), Tables(scores), config)
    comparisons = compare_with(evaluation, names[0] if against is None else against, config)
    if as_json:
        print_json(evaluation.metrics | {COMPARISONS: [asdict(comparison) for comparison in comparisons]})
    else:
        print_metrics(evaluation.metrics, full)
        print_comparisons(comparisons, full)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders, or folders of grids; several are put side by side."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML page; report.html in the one folder, or here for several, where not given."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the same as Markdown too, with tables in place of charts.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One page on one or more runs: results, tests, costs, settings, stories, checks."""
    from trsr.evaluation.report import write_report

    written = {"report": write_report(*runs, out=out, markdown=markdown)}
    written |= {"markdown": markdown} if markdown else {}
    if as_json:
        print_json({name: str(path) for name, path in written.items()})
        return
    for name, path in written.items():
        typer.echo(f"{name}: {path}")
