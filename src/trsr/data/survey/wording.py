"""Attributes of items as text, their words, and the form in which texts are compared."""

import polars as pl

from trsr.data.columns import ITEM

# As `trsr.llm.words` has it: a run of letters, marks and digits, or one character of a script without spaces.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
_NO_WORD = r"[^\p{L}\p{M}\p{N}]+"


def attribute_text(name: str, kind: pl.DataType) -> pl.Expr:
    """An attribute as text, "" where it is missing."""
    value = pl.col(name)
    if kind == pl.List:
        value = value.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    return value.cast(pl.String).fill_null("")


def whole_text(attributes: list[str]) -> pl.Expr:
    """All attributes of an item in one text, once each is text."""
    return pl.concat_str(attributes, separator="\n")


def normalised(text: pl.Expr) -> pl.Expr:
    """Small letters and digits, one space between words: what two texts are compared in."""
    return text.str.to_lowercase().str.replace_all(_NO_WORD, " ").str.strip_chars()


def word_count(text: pl.Expr) -> pl.Expr:
    """How many words a text has."""
    return text.str.count_matches(WORD)


def as_text(items: pl.DataFrame, attributes: tuple[str, ...]) -> pl.DataFrame:
    """The ids and attributes of items, each attribute as text."""
    return items.select(ITEM, *(attribute_text(name, items.schema[name]) for name in attributes))
