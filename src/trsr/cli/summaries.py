"""`trsr summarize`: preference summaries of the users of a dataset folder, kept as state."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trsr.cli.output import Json, print_estimate, print_growth, print_json

if TYPE_CHECKING:
    from trsr.experiment.profiles import ProfilePlace

Folder = Annotated[Path, typer.Argument(help="Dataset folder.")]
Method = Annotated[str, typer.Option(help="recurrent, hierarchical or extractive")]
Store = Annotated[
    str | None, typer.Option(help="SQLite file or postgresql://... that keeps calls and profiles; summaries.sqlite.")
]
Config = Annotated[Path | None, typer.Option(help="Experiment YAML whose data, prompt and summaries hold.")]
Users = Annotated[int | None, typer.Option(help="Only the first so many users, by id.", min=1)]
Export = Annotated[
    Path | None, typer.Option("--export", "--out", help="Then write the profiles as a table, summaries.parquet.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell calls and tokens, and cost and time if asked.")]
PriceIn = Annotated[float | None, typer.Option(help="Price of a million tokens read, for --dry-run.", min=0)]
PriceOut = Annotated[float | None, typer.Option(help="Price of a million tokens written, for --dry-run.", min=0)]
Rate = Annotated[float | None, typer.Option(help="Calls a second, as measured, for --dry-run.", min=0)]
Show = Annotated[str | None, typer.Option(metavar="USER", help="Only show how this user's summary grew.")]
Forget = Annotated[
    str | None, typer.Option(metavar="USER", help="Only delete this user's events and every text of them alone.")
]
DropUnowned = Annotated[
    bool, typer.Option("--drop-unowned", help="With --forget, delete texts of trsr 0.1.0 that tell no user, too.")
]


def summarize(
    folder: Folder,
    method: Method = "recurrent",
    store: Store = None,
    config: Config = None,
    users: Users = None,
    export: Export = None,
    dry_run: DryRun = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    rate: Rate = None,
    show: Show = None,
    forget: Forget = None,
    drop_unowned: DropUnowned = False,
    as_json: Json = False,
) -> None:
    """Bring every user's summary up to date: only what is new is read by the LLM, the rest is found in the store."""
    from trsr.errors import ConfigError
    from trsr.experiment.profiles import ProfilePlace

    asked = {"--dry-run": dry_run, "--show": show is not None, "--forget": forget is not None, "--export": bool(export)}
    chosen = [name for name, is_there in asked.items() if is_there]
    if len(chosen) > 1:
        raise ConfigError(f"summarize: {chosen[0]} and {chosen[1]} do not go together; give one of them")
    going = {
        "--price-in": (price_in is not None, "--dry-run"),
        "--price-out": (price_out is not None, "--dry-run"),
        "--rate": (rate is not None, "--dry-run"),
        "--drop-unowned": (drop_unowned, "--forget"),
    }
    for name, (is_there, needed) in going.items():
        if is_there and not asked[needed]:
            raise ConfigError(f"summarize: {name} goes with {needed}; give both or neither")
    if rate == 0:
        raise ConfigError("summarize: --rate 0 never ends; give the calls a second that were measured")
    place = ProfilePlace(folder, store, config)
    if dry_run:
        _estimate(place, method, users, (price_in, price_out, rate), as_json)
    elif show is not None:
        _show(place, method, show, as_json)
    elif forget is not None:
        _forget(place, forget, drop_unowned, as_json)
    else:
        _update(place, method, users, export, as_json)


def _update(place: "ProfilePlace", method: str, users: int | None, export: Path | None, as_json: bool) -> None:
    from trsr.experiment.profiles import export_profiles, update_folder

    result = update_folder(place, method, users)
    if export is not None:
        result |= {"out": str(export), "exported": export_profiles(place, method, export, users)}
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result['users']:,} users in {result['store']}: {result['renewed']:,} new summaries, {result['unchanged']:,} "
        f"were up to date; {result['calls_made']:,} calls made, {result['calls_found']:,} found"
    )
    if result["calls_made"]:
        grounded = "".join(
            f", {share:.0%} of their content words grounded" for share in result["groundedness"].values()
        )
        rate, replaced = result["calls_made"] / result["seconds"], sum(result["replaced"].values())
        again = f"{result['retried']:,} faulty texts asked for again, {replaced:,} replaced"
        typer.echo(f"{rate:,.1f} calls a second; {again}{grounded}")
    if export is not None:
        typer.echo(f"{result['exported']:,} profiles in {export}")


def _estimate(
    place: "ProfilePlace",
    method: str,
    users: int | None,
    terms: tuple[float | None, float | None, float | None],
    as_json: bool,
) -> None:
    from trsr.experiment.profiles import estimate_folder

    estimate, (price_in, price_out, rate) = estimate_folder(place, method, users), terms
    content: dict[str, Any] = {
        "users": estimate.users,
        "unchanged": estimate.unchanged,
        "calls": estimate.usage.calls,
        "tokens_in": estimate.usage.tokens_in,
        "tokens_out": estimate.usage.tokens_out,
        "tokens_per_summary": estimate.written,
    }
    if price_in is not None or price_out is not None:
        content["cost"] = estimate.cost(price_in or 0, price_out or 0)
    if rate:
        content["seconds"] = estimate.usage.calls / rate
    if as_json:
        print_json(content)
    else:
        print_estimate(content)


def _show(place: "ProfilePlace", method: str, user: str, as_json: bool) -> None:
    from dataclasses import asdict

    from trsr.experiment.profiles import show_user

    growth = show_user(place, method, user)
    if as_json:
        print_json(asdict(growth))
    else:
        print_growth(growth)


def _forget(place: "ProfilePlace", user: str, drop_unowned: bool, as_json: bool) -> None:
    from trsr.experiment.profiles import forget_user

    result = forget_user(place, user, drop_unowned)
    if as_json:
        print_json(result)
        return
    shared = result["kept_shared_calls"]
    kept = f"; {shared} texts stay, for other users' histories led to the very same calls" if shared else ""
    typer.echo(
        f"{user} is forgotten: {result['events']} events of {place.folder}, {result['profiles']} versions of profiles "
        f"and {result['calls']} texts of {result['store']} are gone and were looked for{kept}"
    )
    typer.echo("Exported tables, run folders and backups made before are not touched; delete or make them anew.")
    typer.echo("A run that was under way meanwhile may have stored something of them again: forget once more after it.")
