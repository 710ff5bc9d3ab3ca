"""Clean-ups of item texts, each switchable and counted; none changes what a text says."""

import html
import json
import re
from collections import Counter
from collections.abc import Callable
from html.entities import html5

import numpy as np
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
_SPACES = r"\s{2,}|[^\S ]"
_SPACED = r"  |[^\S ]|^ | $"
_EMPTY = r"^\s*$"
_LIST_BEGINS = r"^\s*\["
_LIST = r"(?s)^\s*\[.*\]\s*$"
_QUOTED = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""
_LISTED = re.compile(rf"(?s)\[\s*+(?:(?:{_QUOTED})(?:\s*+,\s*+|\s++|(?=\])))*+\]")
_ENTRIES = re.compile(f"(?s){_QUOTED}")
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
    """One column of texts, cleaned: one look tells which texts can change at all, and only those are dealt with."""
    name = values.name
    among = values.str.contains(_anything(config)).fill_null(value=False)
    if among.any():
        before = values.filter(among)
        after = _cleaned(before, config, counts)
        counts["values left empty"] += after.null_count()
        values = _replaced(values, among, after)
    long = values.filter(values.str.len_bytes() >= config.long_field)
    counts["long fields"] += int((long.str.len_chars() >= config.long_field).sum())
    return values.alias(name)


def _anything(config: CleaningConfig) -> str:
    """A pattern for texts that may change, and maybe for some others."""
    wanted = {_EMPTY: True, _LIST_BEGINS: config.lists, "[<&]": config.markup}
    wanted |= {_CONTROL: config.controls, _BREAK: config.controls, _SPACED: config.spaces}
    return "|".join(pattern for pattern, is_wanted in wanted.items() if is_wanted)


def _cleaned(values: pl.Series, config: CleaningConfig, counts: Counter[str]) -> pl.Series:
    if config.lists:
        values = _changed(values, _has(values, _LIST), _lists, counts, "lists written as text")
    if config.markup:
        values = _changed(values, _has(values, "<", literal=True), _without_tags, counts, "HTML tags")
        values = _changed(values, _has(values, "&", literal=True), _with_characters, counts, "HTML entities")
    if config.controls:
        values = _changed(values, _has(values, f"{_CONTROL}|{_BREAK}"), _without_controls, counts, "control characters")
    if config.spaces:
        values = _changed(values, _has(values, _SPACED), _without_spaces, counts, "white space")
    blank = values.str.strip_chars() == ""
    return pl.select(pl.when(~blank).then(values)).to_series() if blank.any() else values


def _replaced(values: pl.Series, among: pl.Series, by: pl.Series) -> pl.Series:
    """`values` with those `among` them replaced, in order; the bytes of texts are shared, not copied."""
    places = np.arange(len(values))
    places[among.to_numpy()] = len(values) + np.arange(len(by))
    return pl.concat([values, by])[places]


def _has(values: pl.Series, pattern: str, literal: bool = False) -> pl.Series:
    return values.str.contains(pattern, literal=literal)


def _changed(
    values: pl.Series, among: pl.Series, change: Callable[[pl.Series], pl.Series], counts: Counter[str], what: str
) -> pl.Series:
    """`change` of the texts that a quick look chose; counted where it changed something."""
    if not among.any():
        return values
    texts = values.filter(among)
    changed = change(texts)
    counts[what] += int((changed != texts).sum())
    return _replaced(values, among, changed)


def _without_tags(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_TAG, " ")


def _without_controls(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_CONTROL, "").str.replace_all(_BREAK, " ")


def _without_spaces(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_SPACES, " ").str.strip_chars()


def _with_characters(texts: pl.Series) -> pl.Series:
    """The texts with entities as characters; what is no entity stays, also where it begins like one."""
    found = texts.str.extract_all(_ENTITY).explode(keep_nulls=False, empty_as_null=False).unique().to_list()
    meant = {name: html.unescape(name) for name in found if _is_entity(name)}
    return texts.str.replace_many(meant) if meant else texts


def _lists(texts: pl.Series) -> pl.Series:
    return pl.Series(texts.name, [_listed(text) for text in texts.to_list()], dtype=pl.String)


def _is_entity(name: str) -> bool:
    return name[1] == "#" or name[1:] in html5


def _listed(text: str) -> str:
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
