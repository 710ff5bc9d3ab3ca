"""`trsr demo`: the whole method on built-in data and a small real LLM."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, show_run


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the size, under two minutes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/demo or runs/demo-quick where not given.")] = None,
    as_json: Json = False,
) -> None:
    """No summary, hierarchical and recurrent side by side, in minutes on two cores."""
    from trsr.experiment.demo import demo_config
    from trsr.experiment.run import run_experiment

    settings = demo_config(quick)
    show_run(run_experiment(settings, out or Path("runs") / settings.name), as_json)
