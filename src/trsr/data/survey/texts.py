"""What the texts of a catalogue are like: how long, what is missing, and what should not be in them."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import ITEM
from trsr.data.survey.spread import Spread, spread_of
from trsr.data.survey.wording import as_text, normalised, whole_text, word_count
from trsr.data.validation import blank_value

ITEMS_AT_ONCE = 50_000
LONG = 2_000
"""Characters from which on a field is called very long."""

EXAMPLES = 3
SHORTEST_ID = 4
"""Shorter ids are found in any text."""

_MARKUP = r"</?[A-Za-z][^<>]*>|&(?:[A-Za-z]{2,8}|#\d{1,6});"
_PRINTED_LIST = r"^\s*\[\s*(?:'|\x22)[\s\S]*\]\s*$"


@dataclass(frozen=True)
class LongField:
    """One very long field: the item, the attribute and its characters."""

    item_id: str
    attribute: str
    characters: int


@dataclass(frozen=True)
class AttributeTexts:
    """One attribute over all items: how many lack it, or have text of a kind that is seldom meant.

    `mean` and `longest` are characters, the mean over items that have it. `distinct` counts different values, and
    `numbers` are texts of digits alone. `printed_lists` look as Python prints a list of texts.
    """

    name: str
    missing: int
    mean: float
    longest: int
    very_long: int
    markup: int
    printed_lists: int
    numbers: int
    distinct: int


@dataclass(frozen=True)
class TextSurvey:
    """`words` an item; `words_of_events` the same, every item as often as it has events."""

    words: Spread
    words_of_events: Spread
    attributes: list[AttributeTexts]
    longest: list[LongField]
    holding_own_id: int
    holding_own_id_examples: list[str]


@dataclass(eq=False)
class ItemKeys:
    """By item: a hash of its title (the first attribute) and of its whole text, normalised; 0 where there is none."""

    title: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint64]


@dataclass(eq=False)
class _Sums:
    """What slices of the catalogue add up to."""

    words: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    title: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    text: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    own: list[pl.Series] = field(default_factory=list)
    counts: list[pl.DataFrame] = field(default_factory=list)
    longest: list[pl.DataFrame] = field(default_factory=list)


def survey_texts(
    items: pl.DataFrame, attributes: tuple[str, ...], item_counts: npt.NDArray[np.int64]
) -> tuple[TextSurvey, ItemKeys]:
    """Go through all texts once; `item_counts` are the events of every item."""
    sums = _Sums()
    for some in items.iter_slices(ITEMS_AT_ONCE):
        _add(sums, some, as_text(some, attributes), attributes)
    words = np.concatenate(sums.words)
    own = pl.concat(sums.own)
    survey = TextSurvey(
        words=spread_of(words),
        words_of_events=spread_of(np.repeat(words, item_counts)),
        attributes=_attributes(pl.concat(sums.counts), {name: _distinct(items[name]) for name in attributes}),
        longest=_longest(pl.concat(sums.longest)),
        holding_own_id=len(own),
        holding_own_id_examples=own.head(EXAMPLES).to_list(),
    )
    return survey, ItemKeys(np.concatenate(sums.title), np.concatenate(sums.text))


def _add(sums: _Sums, some: pl.DataFrame, texts: pl.DataFrame, attributes: tuple[str, ...]) -> None:
    names = list(attributes)
    frame = texts.select(
        ITEM,
        pl.sum_horizontal(word_count(pl.col(name)) for name in names).cast(pl.UInt32).alias("words"),
        normalised(pl.col(names[0])).alias("title"),
        normalised(whole_text(names)).alias("text"),
    )
    sums.words.append(frame["words"].to_numpy())
    for name, column in (("title", sums.title), ("text", sums.text)):
        key = pl.when(pl.col(name) != "").then(pl.col(name).hash(1)).otherwise(pl.lit(0, pl.UInt64))
        column.append(frame.select(key).to_series().to_numpy())
    sums.own.append(frame.filter(_holds_own_id())[ITEM])
    sizes = [_sizes(some, texts, name) for name in names]
    for name, size in zip(names, sizes, strict=True):
        sums.counts.append(size.select(pl.lit(name).alias("name"), pl.exclude("characters").sum(), _characters()))
        longest = size["characters"].top_k(min(EXAMPLES, size.height)).min()
        found = texts.select(ITEM).with_columns(pl.lit(name).alias("attribute"), size["characters"])
        sums.longest.append(found.filter(pl.col("characters") >= longest).head(EXAMPLES))


def _holds_own_id() -> pl.Expr:
    own = pl.concat_str(pl.lit(" "), normalised(pl.col(ITEM)), pl.lit(" "))
    padded = pl.concat_str(pl.lit(" "), pl.col("text"), pl.lit(" "))
    return (
        (pl.col(ITEM).str.len_chars() >= SHORTEST_ID)
        & (own.str.len_chars() > 2)
        & padded.str.contains(own, literal=True)
    )


def _sizes(some: pl.DataFrame, texts: pl.DataFrame, name: str) -> pl.DataFrame:
    missing = some.select(blank_value(name, some.schema[name]).alias("missing")).to_series()
    text = pl.col(name)
    return texts.select(
        missing,
        text.str.len_chars().alias("characters"),
        (text.str.len_chars() >= LONG).alias("very_long"),
        text.str.contains(_MARKUP).alias("markup"),
        text.str.contains(_PRINTED_LIST).alias("printed_lists"),
        text.str.contains(r"^\d+$").alias("numbers"),
    )


def _characters() -> pl.Expr:
    here = pl.col("characters")
    return pl.struct(here.sum().alias("sum"), here.max().alias("most"), pl.len().alias("items")).alias("characters")


def _attributes(counts: pl.DataFrame, distinct: dict[str, int]) -> list[AttributeTexts]:
    totals = (
        counts.unnest("characters")
        .group_by("name", maintain_order=True)
        .agg(
            pl.col("missing", "very_long", "markup", "printed_lists", "numbers", "sum", "items").cast(pl.Int64).sum(),
            pl.col("most").max(),
        )
    )
    return [
        AttributeTexts(
            name=row["name"],
            missing=row["missing"],
            mean=row["sum"] / max(row["items"] - row["missing"], 1),
            longest=row["most"],
            very_long=row["very_long"],
            markup=row["markup"],
            printed_lists=row["printed_lists"],
            numbers=row["numbers"],
            distinct=distinct[row["name"]],
        )
        for row in totals.iter_rows(named=True)
    ]


def _longest(found: pl.DataFrame) -> list[LongField]:
    most = found.filter(pl.col("characters") >= LONG).sort("characters", ITEM, descending=[True, False]).head(EXAMPLES)
    return [LongField(*row) for row in most.select(ITEM, "attribute", "characters").iter_rows()]


def _distinct(values: pl.Series) -> int:
    return values.drop_nulls().n_unique()
