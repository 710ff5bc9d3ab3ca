"""`trsr summarize`: preference summaries for the users of a dataset folder."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, print_json


def summarize(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    method: Annotated[str, typer.Option(help="recurrent or hierarchical")] = "recurrent",
    out: Annotated[Path, typer.Option(help="Where the table of summaries goes.")] = Path("summaries.parquet"),
    store: Annotated[Path, typer.Option(help="SQLite file that keeps every LLM call.")] = Path("summaries.sqlite"),
    config: Annotated[Path | None, typer.Option(help="Experiment YAML whose data, prompt and summaries hold.")] = None,
    users: Annotated[int | None, typer.Option(help="Only the first so many users, by id.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Summarise every user's whole history; calls made before are found in the store and not made again."""
    from trsr.experiment.profiles import summarize_folder

    result = summarize_folder(folder, method, out, store, config, users)
    if as_json:
        print_json(result)
    else:
        made, found = result["calls_made"], result["calls_found"]
        typer.echo(f"{result['users']} summaries in {out}: {made} calls made, {found} found in {store}")
