"""`trsr data`: look at a dataset folder, make the synthetic one."""

from dataclasses import asdict
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
def show(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    user: Annotated[str | None, typer.Option(help="Show this user's events, latest last.")] = None,
    item: Annotated[str | None, typer.Option(help="Show all that is known of this item.")] = None,
    latest: Annotated[int, typer.Option(min=1, help="With --user, at most so many events.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what a dataset folder of any size holds, at once: sizes, or one user's events, or one item."""
    from trsr.data.columns import ITEM
    from trsr.data.folder import DatasetFolder
    from trsr.errors import ConfigError
    from trsr.prompts.inert import make_inert
    from trsr.prompts.items import shown_text

    if user is not None and item is not None:
        raise ConfigError("data show: --user and --item do not go together; give one of them")
    opened = DatasetFolder.open(folder)
    if item is not None:
        values = opened.item(item)
        lines = (make_inert(f"{name}: {value}") for name, value in values.items())
        print_json(values) if as_json else typer.echo("\n".join(lines))
        return
    if user is not None:
        events = opened.history(user).tail(latest)
        texts = opened.texts(events[ITEM].cast(str).to_list())
        if as_json:
            print_json([{**event, "text": texts.get(str(event[ITEM]))} for event in events.iter_rows(named=True)])
            return
        for event in events.iter_rows(named=True):
            known = texts.get(str(event[ITEM]))
            rest = ", ".join(f"{name} {value}" for name, value in list(event.items())[2:] if value is not None)
            text = shown_text(known, opened.attributes) if known else "(unknown)"
            typer.echo(f"{make_inert(str(event[ITEM]))}  {text}  ({make_inert(rest)})")
        return
    content = asdict(opened) | {"path": str(folder)}
    if as_json:
        print_json(content)
        return
    sets = f", {opened.impressions:,} impressions" if opened.impressions else ""
    typer.echo(f"{opened.events:,} events, {opened.items:,} items{sets}; attributes: {', '.join(opened.attributes)}")
    if opened.info:
        typer.echo(f"imported from format {opened.info.get('format')}; all that was done is in import.json")


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
