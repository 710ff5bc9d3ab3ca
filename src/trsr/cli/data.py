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
    config: Annotated[Path | None, typer.Option(help="Experiment YAML whose settings hold.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer counts: a folder or a name; that of the settings.")
    ] = None,
    no_tokens: Annotated[bool, typer.Option("--no-tokens", help="Count words only.")] = False,
    rate: Annotated[float | None, typer.Option(help="Calls a second, as measured, to tell the time.", min=0)] = None,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens read.", min=0)] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens written.", min=0)] = None,
    html: Annotated[Path | None, typer.Option(help="Write all of it as one page that loads nothing.")] = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a dataset folder and what its prompts would cost, before an LLM is paid to read it."""
    from trsr.cli.data_check import check_terms, print_check
    from trsr.evaluation.data_page import write_data_page
    from trsr.experiment.data_check import check_data, check_settings
    from trsr.progress import stage

    terms = check_terms(rate, price_in, price_out, model, no_tokens)
    with stage("data check") as progress:
        settings = check_settings(folder, config, min_rating)
        content = check_data(settings, model, not no_tokens, terms, progress.advance).as_dict()
    if html is not None:
        write_data_page(content, html)
    if as_json:
        print_json(content if html is None else {**content, "html": str(html)})
        return
    print_check(content)
    if html is not None:
        typer.echo(f"page: {html}")


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
