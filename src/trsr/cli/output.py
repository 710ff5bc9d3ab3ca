"""What commands print: JSON for programs or tables for people, on stdout."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trsr.prompts.inert import make_inert

if TYPE_CHECKING:
    from rich.console import Console

    from trsr.evaluation.comparisons import Comparison
    from trsr.experiment.profiles import Growth

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(content: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def print_metrics(metrics: dict[str, dict[str, dict[str, float]]], full: bool = False) -> None:
    """The metrics table, as wide as it needs."""
    from rich.console import Console

    from trsr.evaluation.table import rich_table

    Console(width=None if _is_terminal() else 120).print(rich_table(metrics, full=full))


def print_comparisons(comparisons: "Sequence[Comparison]", full: bool = False) -> None:
    """One sentence for every comparison: in the first metric, or with `full` in all."""
    from trsr.evaluation.comparisons import first_metric, sentence

    for comparison in comparisons if full else first_metric(comparisons):
        typer.echo(make_inert(sentence(comparison)))


def print_story(story: dict[str, Any], shown: int = 6) -> None:
    """One user's story: blocks, the summary as it grew and the first candidates with their probabilities."""
    from rich.markup import escape

    console = make_console()
    user = escape(make_inert(story["user_id"]))
    console.print(f"\n[bold]{user}[/bold], {story['method']} summary, ranked by {story['model']}")
    blocks, steps = story["blocks"], story["steps"]
    for index, step in enumerate(steps):
        if index < len(blocks):
            console.print(
                f"  [dim]block {index + 1}:[/dim] " + escape(" / ".join(_title(item) for item in blocks[index]))
            )
        label = "summary" if story["method"] == "recurrent" or index < len(blocks) else "merged"
        console.print(f"    [dim]{label}:[/dim] {escape(step)}")
    console.print("  [dim]latest:[/dim] " + escape(" / ".join(_title(item) for item in story["recent"])))
    for place, entry in enumerate(story["ranked"], 1):
        if place <= shown or entry["label"]:
            mark = " [bold]<- chosen next[/bold]" if entry["label"] else ""
            console.print(f"  {place:>3}. {entry['probability']:6.1%}  {escape(_title(entry['text']))}{mark}")


def print_estimate(content: dict[str, Any]) -> None:
    """What bringing profiles up to date would take."""
    typer.echo(f"{content['users']:,} users, {content['unchanged']:,} of them up to date")
    read, written = content["tokens_in"], content["tokens_out"]
    each = f"{content['tokens_per_summary']:.0f} tokens a summary"
    typer.echo(f"{content['calls']:,} calls, {read:,} tokens to read and {written:,} to write ({each})")
    if "cost" in content:
        typer.echo(f"cost: {content['cost']:,.4g}")
    if "seconds" in content:
        hours, seconds = divmod(round(content["seconds"]), 3600)
        typer.echo(f"time: {hours:,} h {seconds // 60} min {seconds % 60} s")


def print_growth(growth: "Growth") -> None:
    """A user's blocks, and what each step changed of the summary; then the summaries of earlier versions."""
    from rich.markup import escape

    console, profile = make_console(), growth.profile
    console.print(
        f"[bold]{escape(make_inert(profile.user))}[/bold], {profile.method} summary of {profile.events} events, "
        f"{len(profile.calls)} calls to {escape(profile.model or 'no LLM')}, {_date(profile.created)}"
    )
    for index, step in enumerate(growth.steps):
        if step.items:
            console.print(f"  [dim]block {index + 1}:[/dim] " + escape(" / ".join(map(_title, step.items))))
        if step.text:
            console.print(f"    [dim]{'summary' if step.items else 'merged'}:[/dim] " + _marked(step.changes))
    console.print(f"  [bold]now:[/bold] {escape(profile.summary) or '(nothing)'}")
    for number, version in enumerate(growth.versions[:-1], 1):
        when = f"version {number}, {version.events} events, {_date(version.created)}"
        console.print(f"  [dim]{when}:[/dim] {escape(version.summary)}")


def _marked(changes: Sequence[tuple[str, str]]) -> str:
    """Words that came in are green and bold on a terminal, {+so+} elsewhere; those that went are red, [-so-]."""
    from rich.markup import escape

    marks = {"same": "{}", "added": "[bold green]{}[/]", "removed": "[red strike]{}[/]"}
    if not _is_terminal():
        marks = {"same": "{}", "added": "{{+{}+}}", "removed": r"\[-{}-]"}
    return " ".join(marks[change].format(escape(words)) for words, change in changes)


def _date(moment: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def make_console() -> "Console":
    """As wide as the terminal, and 120 columns where there is none."""
    from rich.console import Console

    return Console(width=None if _is_terminal() else 120, highlight=False)


def show_run(folder: Path, as_json: bool) -> None:
    """The table, one story and where the report is, or all of it as JSON."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    stories = json.loads((folder / "stories.json").read_text(encoding="utf-8"))
    checks = json.loads((folder / "checks.json").read_text(encoding="utf-8"))
    if as_json:
        report = str(folder / "report.html")
        print_json({"run": str(folder), "metrics": metrics, "checks": checks, "stories": stories, "report": report})
        return
    for story in stories[:1]:
        print_story(story)
    typer.echo("")
    print_metrics(metrics)
    for check in checks:
        if check["result"] != "ok":
            typer.echo(f"look: {check['check']}: {check['detail']}")
    typer.echo(f"report: {folder / 'report.html'}")


def _title(text: str) -> str:
    return text.split(" · ")[0]


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
