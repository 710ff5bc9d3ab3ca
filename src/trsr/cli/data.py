"""`trsr data`: look at a dataset folder, make the synthetic one."""

from pathlib import Path
from typing import Annotated

import typer

from trsr.cli.output import Json, print_json

app = typer.Typer(help="Look at data, make synthetic data.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Dataset folder with items.parquet and interactions.parquet.")],
    min_rating: Annotated[float | None, typer.Option(help="Leave out events rated lower.")] = None,
    as_json: Json = False,
) -> None:
    """Read a dataset folder as a run would and say what was found and cleaned."""
    from trsr.config import DataConfig
    from trsr.data.dataset import Dataset

    dataset = Dataset.from_folder(folder, DataConfig(path=folder, min_rating=min_rating), seed=0)
    if as_json:
        attributes = list(dataset.attributes)
        print_json({"name": dataset.name, "attributes": attributes, **dataset.report.as_dict()})
        return
    for line in dataset.report.lines():
        typer.echo(line)
    typer.echo(f"attributes: {', '.join(dataset.attributes)}")
    typer.echo(f"split by real time is {'possible' if dataset.has_time else 'not possible'}")


@app.command()
def synth(
    destination: Annotated[Path, typer.Argument(help="Folder to make.")],
    books: Annotated[int, typer.Option(help="Number of books.")] = 400,
    readers: Annotated[int, typer.Option(help="Number of readers.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed, the same data.")] = 7,
    as_json: Json = False,
) -> None:
    """Write the synthetic bookshop as a dataset folder, with the true tastes beside it."""
    from trsr.config import BookshopConfig, parse_settings
    from trsr.data.bookshop import make_bookshop, write_bookshop

    config = parse_settings(BookshopConfig, {"books": books, "readers": readers, "seed": seed}, "data synth")
    shop = make_bookshop(config)
    write_bookshop(shop, destination)
    counts = {
        "folder": str(destination),
        "books": len(shop.items),
        "readers": readers,
        "events": len(shop.interactions),
    }
    if as_json:
        print_json(counts)
    else:
        typer.echo(f"{counts['books']} books, {readers} readers, {counts['events']} events in {destination}")
