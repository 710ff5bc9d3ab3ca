"""Clean-ups of item texts, each switchable and counted; none changes what a text says."""

import ast
import html
from collections import Counter
from collections.abc import Callable

import polars as pl

from trsr.config import CleaningConfig

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]"
_TAGS = (
    "a abbr b big blockquote br center code dd del div dl dt em font h[1-6] hr i img ins li ol p pre s small span "
    "strike strong style sub sup table tbody td th thead tr tt u ul"
)
_TAG = rf"(?is)<!--.*?-->|</?(?:{'|'.join(_TAGS.split())})(?:\s[^<>]*)?/?>"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_SPACES = r"\s{2,}|[\t\r\n\x0b\x0c\x85\xa0\u2000-\u200a\u202f\u205f\u3000]"
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
        values = _replaced(values, _TAG, " ", counts, "HTML tags")
        values = _on(values, _ENTITY, html.unescape, counts, "HTML entities")
    if config.controls:
        values = _replaced(values, _CONTROL, "", counts, "control characters")
    if config.spaces:
        values = _replaced(values, _SPACES, " ", counts, "white space")
        values = values.str.strip_chars()
    counts["long fields"] += int((values.str.len_chars() >= config.long_field).sum())
    blank = values.str.strip_chars() == ""
    if blank.any():
        values = pl.select(pl.when(~blank).then(values)).to_series()
    counts["values left empty"] += values.null_count() - before.null_count()
    return values.alias(name)


def _replaced(values: pl.Series, pattern: str, by: str, counts: Counter[str], what: str) -> pl.Series:
    found = values.str.contains(pattern).fill_null(value=False)
    touched = int(found.sum())
    if not touched:
        return values
    counts[what] += touched
    return (
        values.to_frame("text")
        .select(pl.when(found).then(pl.col("text").str.replace_all(pattern, by)).otherwise(pl.col("text")))
        .to_series()
    )


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


def _lists(text: str) -> str:
    """What a list of texts in Python's or JSON's notation says; the text itself if it is none."""
    try:
        entries = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        return text
    entries = [entry.strip() for entry in entries if entry.strip()]
    short = sum(map(len, entries)) < _LONG_ENTRY * len(entries)
    return (", " if short else " ").join(entries).encode(errors="replace").decode()


def _relisted(frame: pl.DataFrame, name: str, config: CleaningConfig, counts: Counter[str]) -> pl.DataFrame:
    """The frame with the entries of its lists cleaned, those left empty dropped."""
    rows = frame.select(name).with_row_index("row")
    entries = rows.explode(name, keep_nulls=False, empty_as_null=False)
    entries = entries.with_columns(clean_column(entries[name], config, counts)).drop_nulls(name)
    lists = entries.group_by("row", maintain_order=True).agg(name)
    return frame.with_columns(rows.select("row").join(lists, on="row", how="left", maintain_order="left")[name])
