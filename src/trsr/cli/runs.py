"""`trsr run`: one experiment from one YAML file, or a grid of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trsr.cli.output import Json, show_run

if TYPE_CHECKING:
    from trsr.config import Grid


def run(
    config: Annotated[Path, typer.Argument(help="The YAML file of an experiment, or of a grid of them.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME where not given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of a grid, list the cells and what they share; run nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run one experiment or a grid of them; run it again and it continues where it stopped."""
    from trsr.config import is_grid, load_experiment, load_grid, read_yaml
    from trsr.errors import ConfigError
    from trsr.experiment.run import run_experiment

    if is_grid(read_yaml(config)):
        grid = load_grid(config)
        _run_grid(grid, out or Path("runs") / grid.name, dry_run, as_json)
        return
    if dry_run:
        raise ConfigError(f"{config}: --dry-run is for grids, and this is one experiment; leave it out")
    settings = load_experiment(config)
    show_run(run_experiment(settings, out or Path("runs") / settings.name), as_json)


def _run_grid(grid: "Grid", out: Path, dry_run: bool, as_json: bool) -> None:
    from trsr.cli.grids import show_grid, show_plan
    from trsr.experiment.grid import GridFolder, plan_grid, run_grid
    from trsr.progress import say

    if grid.controlled:
        say(f"trsr-recent, which summaries are to be compared with, is added to {', '.join(grid.controlled)}")
    if dry_run:
        show_plan(GridFolder.open(out, grid).records(), plan_grid(grid), as_json)
        return
    records, code = run_grid(grid, out)
    show_grid(out, records, as_json)
    if code:
        raise typer.Exit(code)
