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
_ODD = (
    r"[\x00-\x1f\x7f-\x9f\u200b\ufeff\u2028\u2029]|[^\S ]"  # controls, breaks, and white space that is no plain space
)
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
    texts = frame.select(pl.col(pl.String))
    if texts.width:
        frame = frame.with_columns(_clean_columns(texts, config, counts))
    for name, kind in frame.schema.items():
        if kind == pl.List(pl.String):
            frame = _relisted(frame, name, config, counts)
    return frame


def _clean_columns(frame: pl.DataFrame, config: CleaningConfig, counts: Counter[str]) -> list[pl.Series]:
    """Columns of texts, cleaned: quick looks tell which texts can change, those of all columns are cleaned at once."""
    odd = frame.select(pl.all().str.contains(_ODD).fill_null(value=False))
    among = frame.select(_may_change(config).fill_null(value=False))
    among = pl.DataFrame([odd[name] | among[name] for name in frame.columns])
    changing = [name for name, count in among.sum().row(0, named=True).items() if count] if len(among) else []
    columns = {name: frame[name] for name in frame.columns}
    if changing:
        some = [frame[name].filter(among[name]).alias("text") for name in changing]
        cleaned = _Texts(pl.concat(some), pl.concat([odd[name].filter(among[name]) for name in changing]), counts)
        texts, begin = cleaned.cleaned(config), 0
        for name, before in zip(changing, some, strict=True):
            columns[name] = _replaced(columns[name], among[name], texts[begin : begin + len(before)])
            begin += len(before)
    for column in columns.values():
        if len(long := column.filter(column.str.len_bytes() >= config.long_field)):
            counts["long fields"] += int((long.str.len_chars() >= config.long_field).sum())
    return list(columns.values())


def _may_change(config: CleaningConfig) -> pl.Expr:
    """Which texts may change, of those without odd characters."""
    text = pl.all()
    among = (text == "") | _has_spaces(text)
    if config.lists:
        among |= text.str.starts_with("[")
    if config.markup:
        among |= text.str.contains("[<&]")
    return among


class _Texts:
    """Texts that may change, none null; `odd` are those with controls or white space that is no plain space."""

    def __init__(self, values: pl.Series, odd: pl.Series, counts: Counter[str]) -> None:
        self.values, self.odd, self.counts = values, odd, counts

    def cleaned(self, config: CleaningConfig) -> pl.Series:
        if config.lists and self._change(_has(self.values, _LIST), _lists, "lists written as text"):
            self.odd = _has(self.values, _ODD)
        if config.markup:
            self._change(_has(self.values, "<", literal=True), _without_tags, "HTML tags")
            self._replace_entities()
        if config.controls:
            self._change(self.odd, _without_controls, "control characters")
        if config.spaces:
            self._change(self.odd, _without_spaces, "white space")
            self._change(~self.odd & _look(self.values, _has_spaces(pl.all())), _without_plain_spaces, "white space")
        blank = self.values.str.strip_chars() == ""
        self.counts["values left empty"] += int(blank.sum())
        return pl.select(pl.when(~blank).then(self.values)).to_series() if blank.any() else self.values

    def _replace_entities(self) -> None:
        """Entities become characters; what is no entity stays, also where it begins like one."""
        among = _has(self.values, "&", literal=True)
        found = self.values.filter(among).str.extract_all(_ENTITY).explode(keep_nulls=False, empty_as_null=False)
        meant = {name: html.unescape(name) for name in found.unique().to_list() if _is_entity(name)}
        if meant:
            self._change(among, lambda texts: texts.str.replace_many(meant), "HTML entities")
            if _has(pl.Series(list(meant.values())), _ODD).any():
                self.odd = _has(self.values, _ODD)

    def _change(self, among: pl.Series, change: Callable[[pl.Series], pl.Series], what: str) -> bool:
        """`change` of the texts that a quick look chose, if any; counted where it changed something."""
        if not among.any():
            return False
        texts = self.values.filter(among)
        changed = change(texts)
        self.counts[what] += int((changed != texts).sum())
        self.values = _replaced(self.values, among, changed)
        return True


def _has_spaces(text: pl.Expr) -> pl.Expr:
    """Whether a space is the first or the last character, or follows another."""
    return text.str.starts_with(" ") | text.str.ends_with(" ") | text.str.contains("  ", literal=True)


def _replaced(values: pl.Series, among: pl.Series, by: pl.Series) -> pl.Series:
    """`values` with those `among` them replaced, in order; the bytes of texts are shared, not copied."""
    places = np.arange(len(values), dtype=np.uint32)  # what Polars counts with; other kinds are slow
    places[among.to_numpy()] = len(values) + np.arange(len(by), dtype=np.uint32)
    return pl.concat([values, by], rechunk=True).gather(pl.Series(places))


def _has(values: pl.Series, pattern: str, literal: bool = False) -> pl.Series:
    return values.str.contains(pattern, literal=literal)


def _look(values: pl.Series, expression: pl.Expr) -> pl.Series:
    """What an expression says of texts, as one step, since a step costs as much as to look at a thousand texts."""
    return values.to_frame().select(expression).to_series()


def _without_tags(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_TAG, " ")


def _without_controls(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_CONTROL, "").str.replace_all(_BREAK, " ")


def _without_spaces(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_SPACES, " ").str.strip_chars()


def _without_plain_spaces(texts: pl.Series) -> pl.Series:
    """The same, quicker, where all white space is plain spaces."""
    return texts.str.replace_all(" {2,}", " ").str.strip_chars(" ")


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
    entries = entries.with_columns(_clean_columns(entries.select("list"), config, counts)).drop_nulls("list")
    lists = rows.select("row").join(entries.group_by("row").agg("list"), on="row", how="left", maintain_order="left")
    return frame.with_columns(lists["list"].alias(name))
