"""A report as Markdown (GitHub's kind, for its tables). Text from data stays text: no markup, no row breaks."""

import re
from collections.abc import Iterator, Sequence

from trsr.evaluation.sections import Cell, Document, Section, Table, as_cell
from trsr.evaluation.table import number
from trsr.evaluation.tales import Tale


def render_markdown(document: Document) -> str:
    """The document as text: tables in place of charts, without the whole of manifest and settings."""
    lines = [f"# {escape(document.title)}", ""]
    for chapter in document.chapters:
        deep = "##"
        if chapter.title:
            lines += [f"## {escape(chapter.title)}", ""]
            deep = "###"
        lines += [escape(chapter.headline), ""]
        for section in chapter.sections:
            lines += _section(section, deep)
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    """The table; the best cells are bold, and the small text of a cell stands behind the large."""
    align = ["---", *(["---:" if table.numeric else "---"] * (len(table.header) - 1))]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [[escape(cell) for cell in table.header], align, *rows])


def escape(text: str) -> str:
    """One line that shows the characters of `text` and does nothing else.

    `<`, `>`, `&` and the colon of an address become entities, so there is no HTML and no link; what Markdown would read
    as markup, as a cell border or as the beginning of a heading, list or rule gets a backslash.
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace("://", "&#58;//").replace("www.", "www&#46;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word it is no markup
    text = re.sub(r"\\\[(-?[\d.]+, -?[\d.]+)\\\](?![(\[:])", r"[\1]", text)  # an interval is no link
    return re.sub(r"^(?:(?=#|=|[+-](?:\s|$)|--)|(\d+)(?=[.)](?:\s|$)))", lambda start: f"{start[1] or ''}\\", text)


def _section(section: Section, deep: str) -> Iterator[str]:
    yield from (f"{deep} {escape(section.title)}", "")
    if section.note:
        yield from (escape(section.note), "")
    if section.facts:
        yield from (f"- {escape(name)}: {escape(text)}" for name, text in section.facts)
        yield ""
    for table in section.tables:
        if len(section.tables) > 1 or section.facts:
            yield from (f"**{escape(table.caption)}**", "")
        yield from (markdown_table(table), "")
    for tale in section.tales:
        yield from _tale(tale, deep)


def _cell(cell: str | Cell) -> str:
    found = as_cell(cell)
    text = f"**{escape(found.text)}**" if found.tone == "best" else escape(found.text)
    return f"{text} {escape(found.note)}" if found.note else text


def _tale(tale: Tale, deep: str) -> Iterator[str]:
    story = tale.story
    yield from (f"{deep}# {escape(tale.title)}", "", escape(tale.note), "")
    for step in tale.steps:
        items = "; ".join(escape(item) for item in step.items)
        summary = "".join(text for text, _ in step.summary)
        yield f"- {step.title}: {items}".removesuffix(": ")
        if summary:
            yield f"  - summary: {escape(summary)}"
    if tale.steps:
        yield ""
    if tale.final:
        yield from (f"Final summary: {escape(tale.final)}", "")
    if story.recent:
        yield from (f"Most recent items: {'; '.join(escape(item) for item in story.recent)}", "")
    yield from _ranked(tale)


def _ranked(tale: Tale) -> Sequence[str]:
    if not tale.story.ranked:
        return []
    places = [
        f"{place}. {number(item.probability)} {escape(item.text)}{' **(chosen)**' if item.label == 1 else ''}"
        for place, item in enumerate(tale.story.ranked, 1)
    ]
    return ["Candidates as ranked, with the probability of “yes”:", "", *places, ""]
