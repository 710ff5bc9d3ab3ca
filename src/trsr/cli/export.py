"""`trsr export`: a tuned ranker for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, print_json


def export(
    model: Annotated[Path, typer.Argument(help="Model folder of a tuned ranker.")],
    dst: Annotated[Path, typer.Argument(help="Where the export goes: a new or empty folder.")],
    layout: Annotated[str, typer.Option("--format", help="merged or crossencoder")] = "merged",
    base: Annotated[str | None, typer.Option(help="Base weights, if not under the name they were tuned by.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; that of the tuning if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a ranker as whole weights, or as a CrossEncoder of sentence-transformers."""
    from trsr.ranking.export import export_folder

    result = export_folder(model, dst, layout, base, dtype)
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{result['format']} in {result['dtype']} in {result['folder']}")
