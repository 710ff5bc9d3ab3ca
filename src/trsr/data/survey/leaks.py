"""Where ids, the order of rows or texts may give a target away."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import ITEM, POSITION, TIME, USER
from trsr.data.reading import ScannedTable
from trsr.data.seeds import generator
from trsr.data.survey.coded import CodedEvents
from trsr.data.survey.texts import EXAMPLES
from trsr.data.survey.wording import as_text, normalised, whole_text

TITLES, TEXTS = 2_000, 20_000
"""At most so many titles are looked for in so many texts."""

_YEAR = r"\s*\(\d{4}\)\s*$"
SHORTEST_TITLE = 8
ROWS_READ = 1_000_000
"""Rows at the beginning of the interactions whose order is looked at."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TitleSurvey:
    """How many of the `titles` looked for (two words and eight letters or more) stand in one of the other `texts`.

    A year in brackets at the end is left out of a title, and texts under the very same title do not count.
    `examples`: the title, and the title of an item whose text holds it.
    """

    titles: int
    texts: int
    found: int
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class OrderSurvey:
    """Rank correlations (Spearman) of the row of an item, and of its id, with its events and its first moment.

    The id counts as the number that it ends with, or by its place in the alphabet where not every id ends with one.
    None where one of the two does not vary. `tied_pairs`: neighbouring events of a user at one moment, by position
    where there is one, else by row; `tied_ascending` is the share of them in the order of item ids, one half by chance.
    """

    row_popularity: float | None
    row_time: float | None
    id_popularity: float | None
    id_time: float | None
    tied_pairs: int
    tied_ascending: float | None


def survey_titles(items: pl.DataFrame, attributes: Sequence[str], seed: int) -> TitleSurvey:
    """Look for titles in the texts of other items; where these are many, for some in some, drawn by the seed."""
    rng, title = generator(seed, "titles"), attributes[0]
    chosen = _some(items, TEXTS, rng)
    texts = _padded(as_text(chosen, tuple(attributes)).select(title, whole_text(list(attributes)).alias("text")), title)
    wanted = _padded(as_text(_some(items, TITLES, rng), (title,)), title).filter(
        (pl.col("key").str.len_chars() >= SHORTEST_TITLE + 2) & (pl.col("key").str.count_matches(" ") >= 3)
    )
    wanted = wanted.unique("key", maintain_order=True)
    if wanted.is_empty():
        return TitleSurvey(0, chosen.height, 0, [])
    found = (
        texts.select(
            "key",
            pl.col(title).alias("inside"),
            pl.col("text").str.extract_many(wanted["key"].implode(), overlapping=True).list.unique().alias("match"),
        )
        .explode("match", empty_as_null=True)
        .filter(pl.col("match").is_not_null() & (pl.col("match") != pl.col("key")))
        .unique("match", keep="first", maintain_order=True)
    )
    shown = found.head(EXAMPLES).join(wanted, left_on="match", right_on="key", maintain_order="left")
    return TitleSurvey(wanted.height, chosen.height, found.height, list(shown.select(title, "inside").iter_rows()))


def survey_order(items_file: Path, events_file: Path, events: CodedEvents) -> OrderSurvey:
    """What the order of rows and ids knows."""
    rows = _rows(items_file, events.items)
    ids = _id_numbers(events.items)
    counts, has = events.item_counts.astype(np.float64), events.item_counts > 0
    first = _first_moments(events)
    pairs, ascending = _tied_rows(events_file)
    return OrderSurvey(
        row_popularity=rank_correlation(rows, counts),
        row_time=None if first is None else rank_correlation(rows[has], first[has]),
        id_popularity=rank_correlation(ids, counts),
        id_time=None if first is None else rank_correlation(ids[has], first[has]),
        tied_pairs=pairs,
        tied_ascending=ascending,
    )


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's: Pearson's correlation of ranks, ties at their mean rank."""
    ranks = [pl.Series(values).rank("average").to_numpy() for values in (one, other)]
    if any(len(values) < 2 or values.min() == values.max() for values in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _some(items: pl.DataFrame, most: int, rng: np.random.Generator) -> pl.DataFrame:
    if items.height <= most:
        return items
    return items[np.sort(rng.choice(items.height, most, replace=False))]


def _padded(frame: pl.DataFrame, title: str) -> pl.DataFrame:
    """`key`, the title, and `text` between spaces, so that only whole words match."""
    space = pl.lit(" ")
    made = [pl.concat_str(space, normalised(pl.col(title).str.replace(_YEAR, "")), space).alias("key")]
    if "text" in frame.columns:
        made.append(pl.concat_str(space, normalised(pl.col("text")), space).alias("text"))
    return frame.with_columns(made)


def _rows(items_file: Path, items: pl.Series) -> Floats:
    """The row of every item in its file, the first one where it has copies."""
    table = ScannedTable.open(items_file)
    with table.reading():
        ids = table.scan().select(pl.col(ITEM).cast(pl.String)).with_row_index("row").collect()
    firsts = ids.unique(ITEM, keep="first")
    found = items.to_frame(ITEM).join(firsts, on=ITEM, how="left", maintain_order="left")
    return found["row"].to_numpy().astype(np.float64)


def _id_numbers(items: pl.Series) -> Floats:
    numbers = items.str.extract(r"(\d{1,18})$").cast(pl.Int64, strict=False)
    return numbers.to_numpy().astype(np.float64) if not numbers.has_nulls() else np.arange(len(items), dtype=np.float64)


def _first_moments(events: CodedEvents) -> Floats | None:
    if events.moment is None:
        return None
    first = np.full(len(events.items), np.iinfo(np.int64).max, np.int64)
    order = np.argsort(events.moment, kind="stable")[::-1]
    first[events.item[order]] = events.moment[order]
    return first.astype(np.float64)


def _tied_rows(events_file: Path) -> tuple[int, float | None]:
    table = ScannedTable.open(events_file)
    with table.reading():
        names = table.scan().collect_schema().names()
        if TIME not in names:
            return 0, None
        kept = [name for name in (USER, ITEM, TIME, POSITION) if name in names]
        rows = table.scan().select(kept).head(ROWS_READ).collect()
    rows = rows.with_columns(pl.col(ITEM).cast(pl.String))
    if POSITION in names and not rows[POSITION].has_nulls():
        rows = rows.sort(USER, TIME, POSITION)
    numbers = pl.Series("number", _id_numbers(rows[ITEM]))
    pairs = (
        rows.with_columns(numbers)
        .select(
            (pl.col(USER) == pl.col(USER).shift())
            & (pl.col(TIME) == pl.col(TIME).shift())
            & (pl.col(ITEM) != pl.col(ITEM).shift()),
            up=_ascends(pl.col("number") if rows[ITEM].str.contains(r"\d$").all() else pl.col(ITEM)),
        )
        .filter(pl.col(USER))
    )
    return pairs.height, float(pairs["up"].mean()) if pairs.height else None  # type: ignore[arg-type]


def _ascends(value: pl.Expr) -> pl.Expr:
    return value > value.shift()
