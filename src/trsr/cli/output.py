"""What commands print: JSON for programs or tables for people, on stdout."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(content: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def print_metrics(metrics: dict[str, dict[str, dict[str, float]]], full: bool = False) -> None:
    """The metrics table, as wide as it needs."""
    from rich.console import Console

    from trsr.evaluation.table import rich_table

    Console(width=None if _is_terminal() else 120).print(rich_table(metrics, full=full))


def print_story(story: dict[str, Any], shown: int = 6) -> None:
    """One user's story: blocks, the summary as it grew and the first candidates with their probabilities."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(width=None if _is_terminal() else 120, highlight=False)
    console.print(f"\n[bold]{escape(story['user_id'])}[/bold], {story['method']} summary, ranked by {story['model']}")
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
