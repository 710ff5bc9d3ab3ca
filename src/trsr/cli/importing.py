"""`trsr data import`: a public data set, or tables of your own, as a dataset folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trsr.cli.output import Json, print_json

if TYPE_CHECKING:
    from trsr.config import ImportConfig

Format = Annotated[
    str, typer.Argument(metavar="FORMAT", help="Name of a format, or auto; `trsr data formats` lists them.")
]
Origin = Annotated[str, typer.Argument(metavar="SRC", help="Folder, archive, file or URL.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="Dataset folder to make.")]
Also = Annotated[list[str] | None, typer.Option(help="A further file or URL of the same source, repeatable.")]
Config = Annotated[Path | None, typer.Option(help="YAML of import settings; options given here come before it.")]
Locale = Annotated[str | None, typer.Option(help="Only this locale, of a format that has several.")]
Attribute = Annotated[list[str] | None, typer.Option(help="Keep this attribute, repeatable, in this order.")]
MinRating = Annotated[float | None, typer.Option(help="Leave out events rated lower or not rated.")]
Since = Annotated[str | None, typer.Option(help="Leave out events before this date or time (ISO, UTC).")]
Until = Annotated[str | None, typer.Option(help="Leave out events at or after this date or time (ISO, UTC).")]
Repeats = Annotated[str | None, typer.Option(help="Of a user's events with one item: keep all, the first or the last.")]
Core = Annotated[int | None, typer.Option(min=1, help="Users and items with at least so many events, until all have.")]
MinHistory = Annotated[int | None, typer.Option(min=1, help="Leave out users with fewer events.")]
MaxBad = Annotated[
    float | None, typer.Option(help="Share of bad rows of a file above which nothing is imported; 0.05.")
]
Sha256 = Annotated[str | None, typer.Option(help="SHA-256 that the file at the URL must have.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the dataset folder that is there.")]


def import_data(
    format_name: Format,
    source: Origin,
    destination: Destination,
    also: Also = None,
    config: Config = None,
    locale: Locale = None,
    attribute: Attribute = None,
    min_rating: MinRating = None,
    since: Since = None,
    until: Until = None,
    repeats: Repeats = None,
    core: Core = None,
    min_history: MinHistory = None,
    max_bad: MaxBad = None,
    sha256: Sha256 = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Make a dataset folder of a public data set or of tables of your own; bad rows are kept apart, with reasons."""
    from trsr.data.importing import import_dataset
    from trsr.data.importing.download import fetch, is_url
    from trsr.errors import ConfigError

    filters = {
        "min_rating": min_rating,
        "since": since,
        "until": until,
        "repeats": repeats,
        "core": core,
        "min_history": min_history,
    }
    settings = _settings(config, {"locale": locale, "attributes": attribute, "max_bad": max_bad}, filters)
    if sha256 is not None and not is_url(source):
        raise ConfigError(f"--sha256: {source} is no URL; leave it out")
    places = [fetch(source, sha256) if is_url(source) else Path(source)]
    places += [fetch(place) if is_url(place) else Path(place) for place in also or ()]
    report = import_dataset(format_name, places[0], destination, settings, more=places[1:], replace=replace)
    if as_json:
        print_json(report.as_dict())
        return
    for line in report.lines():
        typer.echo(line)


def formats(as_json: Json = False) -> None:
    """List the formats that can be imported, those of installed plug-ins too."""
    from trsr.data.importing.reader import readers

    found = {reader.name: reader.about for reader in readers().values()}
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, about in found.items():
        typer.echo(f"{name:{width}}  {about}")


def impressions(
    folder: Annotated[Path, typer.Argument(help="Dataset folder with impressions.parquet.")],
    out: Annotated[Path, typer.Argument(help="Candidates file to write.")],
    split: Annotated[str | None, typer.Option(help="Only those of train, dev or test.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="At most so many, drawn by the seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same impressions.")] = 7,
    as_json: Json = False,
) -> None:
    """Write the items that people were shown as a candidates file, those they clicked with label 1."""
    from trsr.data.columns import EXAMPLE, LABEL
    from trsr.data.impressions import impression_candidates
    from trsr.files import whole_file

    frame = impression_candidates(folder, split, most, seed)
    with whole_file(out) as work:
        frame.write_parquet(work)
    counts = {"impressions": frame[EXAMPLE].n_unique(), "candidates": frame.height, "clicked": int(frame[LABEL].sum())}
    if as_json:
        print_json({"file": str(out), **counts})
    else:
        typer.echo(
            f"{counts['impressions']:,} impressions, {counts['candidates']:,} candidates, {counts['clicked']:,} clicked"
        )


def _settings(path: Path | None, plain: dict[str, Any], filters: dict[str, Any]) -> "ImportConfig":
    from trsr.config import ImportConfig, parse_settings, read_yaml

    values = read_yaml(path) if path else {}
    if isinstance(values, dict):
        values |= {name: value for name, value in plain.items() if value is not None}
        given = {name: value for name, value in filters.items() if value is not None}
        if given:
            values["filters"] = {**(values.get("filters") or {}), **given}
    return parse_settings(ImportConfig, values, str(path or "data import"))
