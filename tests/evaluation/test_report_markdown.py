"""The report as Markdown: the same numbers as the page, and text of data that stays text."""

import re

import pytest
from markdown_it import MarkdownIt

from evaluation.run_folders import EVIL, METRICS, STORY, fill_run, write_json, write_run
from trsr.evaluation.markdown import escape, markdown_table
from trsr.evaluation.report import write_report
from trsr.evaluation.sections import Cell, Table


@pytest.fixture
def run(tmp_path):
    return fill_run(write_run(tmp_path / "bookshop"))


def markdown_of(*runs):
    path = runs[0].parent / "report.md"
    write_report(*runs, out=runs[0].parent / "page.html", markdown=path)
    return path.read_text()


def rendered(text):
    """As GitHub would: HTML is let through, tables are tables."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


def test_the_sections_are_those_of_the_page(run):
    text = markdown_of(run)
    page = (run.parent / "page.html").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert text.startswith("# bookshop\n\ntrsr-recurrent ranks best: mrr@3 .394 [.363, .426] over 20 uniform")


def test_tables_stand_where_the_page_has_tables_or_charts(run):
    text = markdown_of(run)
    assert "| trsr-recurrent | **.538** [.507, .570] | **.394** [.363, .426] |" in text
    assert "| trsr-recurrent | **500** | 0.500 | .512 |" in text
    assert "| trsr-recurrent | .610 [.579, .641] | .520 [.489, .551] |" in text
    assert rendered(text).count("<table>") == 7
    assert "svg" not in text


def test_a_story_is_told(run):
    text = markdown_of(run)
    assert "1. .931 Tides" in text
    assert "2. .882 The Ledger **(chosen)**" in text
    assert "- Block 2: Salt and Iron\n  - summary: Likes sea mysteries, nature writing." in text


def test_hostile_text_is_inert(run):
    write_json(
        run / "stories.json",
        [
            STORY
            | {
                "user_id": "u\n\n# Big\n\n<img src=x onerror=alert(1)>",
                "target": "[click](javascript:alert(1)) ![x](http://a.test/x.png) http://a.test `code` **b** __b__",
                "recent": ["a | b\n| c |", "- one\n- two", "1. one"],
            }
        ],
    )
    html = rendered(markdown_of(run))
    assert not re.search(r"<(script|img|a|code|pre|blockquote|hr)\b", html)
    assert html.count("<h1>") == 1
    assert "&lt;script&gt;" in html
    assert "<strong>b</strong>" not in html


def test_cells_cannot_break_their_row():
    table = Table(["a|b", "c\nd"], [[f"x | y\n{EVIL}", Cell("1 | 2", "[3, 4]", "best")], ["\\|", "`|`"]])
    html = rendered(markdown_table(table) + "\n")
    assert html.count("<tr>") == 3
    assert html.count("<td") == 4
    assert html.count("<th") == 3  # thead is one
    assert "<script" not in html


@pytest.mark.parametrize(
    "text",
    [
        "# x",
        "- x",
        "+ x",
        "= =",
        "12. x",
        "1) x",
        "> x",
        "*x*",
        "_x_",
        "~~x~~",
        "a_b_c",
        "x & y",
        "&lt;",
        "\\",
        "<b>",
        "`x`",
        "a$b$",
        "[1, 2](http x)",
        "[1, 2]: x",
        "-.5 [-.1, .2]",
        "---",
        "- - -",
        "[a](b)",
        "![a](b)",
        "\\[1, 2]",
    ],
)
def test_escaped_text_reads_as_it_is(text):
    html = rendered(escape(text))
    assert re.fullmatch(r"<p>[^<]*</p>\n", html)
    shown = html[3:-5].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == text


def test_a_name_with_underscores_stays_readable():
    assert escape("item_knn") == "item_knn"


def test_several_parts_go_one_heading_deeper(run):
    other = write_run(run.parent / "other", {m: {f"{n}0": i for n, i in v.items()} for m, v in METRICS.items()})
    text = markdown_of(run, other)
    assert re.findall(r"^#+ (?:Results|Part.*)$", text, re.MULTILINE) == [
        "## Part 1: bookshop, split by time, 20 test examples, 20 uniform negatives",
        "### Results",
        "## Part 2: bookshop, split by time, 20 test examples, 200 uniform negatives",
        "### Results",
    ]


def test_what_is_asked_again_is_the_same(run):
    assert markdown_of(run) == markdown_of(run)
