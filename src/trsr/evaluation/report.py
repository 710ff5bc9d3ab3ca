"""A report of runs: what came out, how sure it is, what it costs and what it is made of; as HTML or as Markdown.

One document of sections is made from the files of the run folders, and written in either form: both say the same,
but for charts, of which Markdown has the tables only.
"""

from collections.abc import Sequence
from pathlib import Path

from trsr.errors import ConfigError
from trsr.evaluation.ablations import ablation_section
from trsr.evaluation.costs import costs_section
from trsr.evaluation.fact_sections import checks_section, choices_section, origin_section, runs_section
from trsr.evaluation.learning_section import learning_section
from trsr.evaluation.markdown import render_markdown
from trsr.evaluation.page import render_page
from trsr.evaluation.result_sections import comparisons_section, headline, results_section, seeds_section
from trsr.evaluation.run_collection import Collection, collect_runs
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.run_groups import RunGroup, group_runs
from trsr.evaluation.sections import Chapter, Document, Section
from trsr.evaluation.segment_sections import segments_section
from trsr.evaluation.summary_section import summary_section
from trsr.evaluation.tales import tell
from trsr.files import write_text

PAGE = "report.html"
TITLE_LENGTH = 80


def write_report(*places: Path, out: Path | None = None, markdown: Path | None = None) -> Path:
    """Write the page of run folders and grids, whole or not at all, and return its path.

    Without `out` it is `report.html` in the one folder there is, or in the current folder for several. `markdown` is
    a second file with the same as Markdown. A run needs manifest.json and metrics.json; every other file adds its
    section. A run that cannot be read is named in the report; raises `DataError` where none can, `ConfigError` where
    a file cannot be written.
    """
    target = out or (places[0] / PAGE if len(places) == 1 else Path(PAGE))
    if target.suffix.lower() in (".md", ".markdown"):
        raise ConfigError(f"report: {target} is to be the HTML page; for Markdown give --markdown {target}")
    document = make_document(collect_runs(places))
    write_text(target, render_page("report.html.j2", document=document))
    if markdown is not None:
        write_text(markdown, render_markdown(document))
    return target


def make_document(collection: Collection) -> Document:
    """All that is to be told of runs; those that may be compared share a chapter."""
    groups = group_runs(collection.runs)
    name = collection.name if len(collection.name) <= TITLE_LENGTH else f"{len(collection.runs)} runs"
    one_run = len(collection.runs) == 1 and not collection.left_out
    overview = [] if one_run else [runs_section(groups, collection.left_out)]
    if len(groups) == 1:
        return Document(name, [Chapter("", headline(groups[0]), [*overview, *_sections(groups[0])])])
    told = f"{len(collection.runs)} runs in {len(groups)} parts that differ in data or protocol."
    chapters = [
        Chapter(f"Part {number}: {group.title}", headline(group), _sections(group))
        for number, group in enumerate(groups, 1)
    ]
    return Document(name, [Chapter("", told, overview), *chapters])


def _sections(group: RunGroup) -> list[Section]:
    """In the order in which a person asks."""
    found = [
        results_section(group),
        summary_section(group),
        comparisons_section(group),
        seeds_section(group),
        ablation_section(group),
        segments_section(group),
        costs_section(group),
        learning_section(group),
        choices_section(group),
        _tales_section(group),
        checks_section(group),
        origin_section(group),
    ]
    return [section for section in found if section is not None]


def _tales_section(group: RunGroup) -> Section | None:
    """The stories of the run whose ranker is best, for one run's are enough to read."""
    best = [row.run for row in group.rows if row.is_tuned and row.run.stories]
    told: Sequence[RunFiles] = [*best, *(run for run in group.runs if run.stories)][:1]
    if not told:
        return None
    [run] = told
    label = next(label for label, one in group.labelled if one is run)
    note = f"Of the run {label}, whose ranker is the best." if label else ""
    return Section("Users’ stories", note, tales=[tell(story) for story in run.stories])
