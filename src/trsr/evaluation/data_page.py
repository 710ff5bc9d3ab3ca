"""One self-contained HTML page on a dataset: what is wrong with it, and the numbers that say so."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trsr.data.report import CleaningReport
from trsr.data.survey.finding import SEVERITIES
from trsr.evaluation.data_sections import data_sections
from trsr.evaluation.page import render_page
from trsr.files import write_text

WORDS = {"stop": "stop", "look": "look", "ok": "fine"}


def write_data_page(content: Mapping[str, Any], path: Path) -> None:
    """Write the page of what `trsr data check --json` prints, whole or not at all."""
    write_text(path, render_data_page(content))


def render_data_page(content: Mapping[str, Any]) -> str:
    """The page as text; everything that comes from data is escaped."""
    page = render_page(
        "data.html.j2",
        name=content["name"],
        headline=headline(content),
        findings=content["findings"],
        sections=data_sections(content),
        cleaning=cleaning_report(content).lines(),
        attributes=content["attributes"],
    )
    return page.replace(" %", "\u00a0%")  # a number and its sign stay on one line


def headline(content: Mapping[str, Any]) -> str:
    """How large the data is, and how many findings want a look."""
    counts = Counter(finding["severity"] for finding in content["findings"])
    told = ", ".join(f"{counts[severity]} {WORDS[severity]}" for severity in SEVERITIES if counts[severity])
    return f"{content['users']:,} users, {content['items']:,} items, {content['events']:,} events. Findings: {told}."


def cleaning_report(content: Mapping[str, Any]) -> CleaningReport:
    """The counts of cleaning among all that was printed."""
    return CleaningReport(**{one.name: content[one.name] for one in fields(CleaningReport)})
