"""`trsr evaluate` and `trsr report`: numbers from any scores file, and the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, print_json, print_metrics


def evaluate(
    candidates: Annotated[Path, typer.Argument(help="candidates.parquet")],
    scores: Annotated[list[Path], typer.Argument(help="One or more scores.parquet; the file name names the model.")],
    k: Annotated[list[int] | None, typer.Option(help="Cut-offs, repeatable; 3, 5 and 10 where not given.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every metric.")] = False,
    as_json: Json = False,
) -> None:
    """Metrics with intervals for any scores file, beside chance."""
    from trsr.config import EvaluationConfig, parse_settings
    from trsr.data.candidates import read_candidates
    from trsr.errors import ConfigError
    from trsr.evaluation.evaluate import evaluate as measure
    from trsr.evaluation.evaluate import read_scores

    names = [path.stem for path in scores]
    if len(set(names)) < len(names):
        raise ConfigError(f"evaluate: two scores files share a name among {', '.join(names)}; rename one")
    config = parse_settings(EvaluationConfig, {"ks": k} if k else {}, "evaluate")
    frames = {path.stem: read_scores(path) for path in scores}
    metrics = measure(read_candidates(candidates), frames, config).metrics
    if as_json:
        print_json(metrics)
    else:
        print_metrics(metrics, full)


def report(run: Annotated[Path, typer.Argument(help="Run folder.")], as_json: Json = False) -> None:
    """Write report.html of a run again from the files in its folder."""
    from trsr.evaluation.report import write_report

    path = write_report(run)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(f"report: {path}")
