"""Clean-ups of item texts, each switchable and counted; none changes what a text says."""

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from html.entities import html5

import polars as pl

from trsr.config import CleaningConfig
from trsr.data.importing.jsonlines import literal_value

_BREAK = r"[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]"  # controls that part what stands around them
_CONTROL = r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\ufeff]"
_TAGS = (
    "a abbr b big blockquote br center code dd del div dl dt em font h[1-6] hr i img ins li ol p pre s small span "
    "strike strong style sub sup table tbody td th thead tr tt u ul"
)
_ATTRIBUTE = r"""\s+[a-z][-a-z]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))"""
_TAG = rf"(?is)<!--.*?-->|</?(?:{'|'.join(_TAGS.split())})(?:{_ATTRIBUTE}|\s+(?:nowrap|noshade|compact|clear))*\s*/?>"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_SPACES = r"\s{2,}|[^\S ]|^\s|\s$"
_QUOTED = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""
_LISTED = re.compile(rf"(?s)\[\s*+(?:(?:{_QUOTED})(?:\s*+,\s*+|\s++|(?=\])))*+\]")
_ENTITIES, _ENTRIES = re.compile(_ENTITY), re.compile(f"(?s){_QUOTED}")
_LONG_ENTRY = 60
"""Entries of a list are joined with commas where they are shorter on average, else they are paragraphs."""


def clean_texts(frame: pl.DataFrame, config: CleaningConfig, counts: Counter[str]) -> pl.DataFrame:
    """The frame with every text and list of texts cleaned; `counts` gets how many values each clean-up changed.

    Texts of white space alone become null.
    """
    for name, kind in frame.schema.items():
        if kind == pl.String:
            frame = frame.with_columns(clean_column(frame[name], config, counts))
        elif kind == pl.List(pl.String):
            frame = _relisted(frame, name, config, counts)
    return frame


def clean_column(values: pl.Series, config: CleaningConfig, counts: Counter[str]) -> pl.Series:
    """One column of texts, cleaned."""
    name, before = values.name, values
    if config.lists:
        values = _on(values, r"^\s*\[.*\]\s*$", _lists, counts, "lists written as text", dotall=True)
    if config.markup:
        values = _replaced(values, {_TAG: " "}, counts, "HTML tags")
        values = _on(values, _ENTITY, _entities, counts, "HTML entities")
    if config.controls:
        values = _replaced(values, {_CONTROL: "", _BREAK: " "}, counts, "control characters")
    if config.spaces:
        values = _replaced(values, {_SPACES: " "}, counts, "white space").str.strip_chars()
    counts["long fields"] += int((values.str.len_chars() >= config.long_field).sum())
    blank = values.str.strip_chars() == ""
    if blank.any():
        values = pl.select(pl.when(~blank).then(values)).to_series()
    counts["values left empty"] += values.null_count() - before.null_count()
    return values.alias(name)


def _replaced(values: pl.Series, by: Mapping[str, str], counts: Counter[str], what: str) -> pl.Series:
    """All that is like one of some patterns replaced; a text is counted once."""
    found = values.str.contains("|".join(by)).fill_null(value=False)
    touched = int(found.sum())
    if not touched:
        return values
    counts[what] += touched
    text = pl.col("text")
    for pattern, new in by.items():
        text = text.str.replace_all(pattern, new)
    return values.to_frame("text").select(pl.when(found).then(text).otherwise(pl.col("text"))).to_series()


def _on(
    values: pl.Series, pattern: str, change: Callable[[str], str], counts: Counter[str], what: str, dotall: bool = False
) -> pl.Series:
    """`change` of the texts that `pattern` finds; counted where it changed something."""
    found = values.str.contains(f"(?s){pattern}" if dotall else pattern).fill_null(value=False)
    if not found.any():
        return values
    texts = values.filter(found)
    changed = pl.Series([change(text) for text in texts.to_list()], dtype=pl.String)
    counts[what] += int((changed != texts).sum())
    return values.scatter(found.arg_true(), changed)


def _entities(text: str) -> str:
    """The text with entities as characters; what is no entity stays, also where it begins like one."""
    return _ENTITIES.sub(lambda found: html.unescape(found[0]) if _is_entity(found[0]) else found[0], text)


def _is_entity(name: str) -> bool:
    return name[1] == "#" or name[1:] in html5


def _lists(text: str) -> str:
    """What a list of texts as Python, JSON or numpy writes it says; the text itself if it is none."""
    stripped = text.strip()
    if not _LISTED.fullmatch(stripped):
        return text
    try:
        entries = json.loads(stripped)
    except ValueError:
        try:
            entries = [literal_value(entry) for entry in _ENTRIES.findall(stripped)]
        except ValueError:
            return text
    entries = [entry.strip() for entry in entries if entry.strip()]
    short = sum(map(len, entries)) < _LONG_ENTRY * len(entries)
    return (", " if short else " ").join(entries).encode(errors="replace").decode()


def _relisted(frame: pl.DataFrame, name: str, config: CleaningConfig, counts: Counter[str]) -> pl.DataFrame:
    """The frame with the entries of its lists cleaned, those left empty dropped."""
    rows = frame.select(pl.col(name).alias("list")).with_row_index("row")
    entries = rows.explode("list", keep_nulls=False, empty_as_null=False)
    entries = entries.with_columns(clean_column(entries["list"], config, counts)).drop_nulls("list")
    lists = rows.select("row").join(entries.group_by("row").agg("list"), on="row", how="left", maintain_order="left")
    return frame.with_columns(lists["list"].alias(name))
