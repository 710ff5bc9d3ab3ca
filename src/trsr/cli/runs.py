"""`trsr run`: one experiment from one YAML file."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, show_run


def run(
    config: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME where not given.")] = None,
    as_json: Json = False,
) -> None:
    """Run one experiment; run it again and it continues where it stopped."""
    from trsr.config import load_experiment
    from trsr.experiment.run import run_experiment

    settings = load_experiment(config)
    show_run(run_experiment(settings, out or Path("runs") / settings.name), as_json)
