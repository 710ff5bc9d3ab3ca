"""Impressions: lists of items that people were shown, with those they clicked, as candidate sets."""

from pathlib import Path

import polars as pl

from trsr.data.columns import CANDIDATES, EXAMPLE, IMPRESSION, ITEM, LABEL, SOURCE, SPLIT, TARGET, TIME, USER
from trsr.data.reading import ScannedTable
from trsr.data.seeds import generator
from trsr.errors import DataError

NAME = "impressions.parquet"
SHOWN, CLICKED = "shown", "clicked"


def impression_candidates(
    folder: Path, split: str | None = None, most: int | None = None, seed: int = 7
) -> pl.DataFrame:
    """The candidates table of the impressions of a dataset folder: what was clicked has label 1 and source "target".

    Only impressions with a click and with something shown beside it, and of these only those of `split` and at most
    `most`, drawn by the seed. An item that was shown twice in one impression counts once. Raises `DataError` if the
    folder has no impressions, or none is left.
    """
    table = open_impressions(folder)
    with table.reading():
        chosen = table.scan().filter(_usable(split))
        rows = chosen.select(pl.len()).collect(engine="streaming").item()
        if most is not None and most < rows:
            kept = generator(seed, "impressions").choice(rows, most, replace=False, shuffle=False)
            chosen = chosen.with_row_index("row").filter(pl.col("row").is_in(pl.Series(sorted(kept)).implode()))
        frame = chosen.select(EXAMPLE, USER, SHOWN, CLICKED).collect(engine="streaming")
    if frame.is_empty():
        raise DataError(f"{table.path}: no impression{f' of {split}' if split else ''} has a click; take another split")
    return as_shown(frame)


def open_impressions(folder: Path) -> ScannedTable:
    """The impressions of a dataset folder; `DataError` if it has none."""
    if not (folder / NAME).is_file():
        raise DataError(f"{folder}: no {NAME}; import a data set that has impressions, such as MIND")
    return ScannedTable.open(folder / NAME)


def list_impressions(table: ScannedTable, items: pl.Series) -> pl.DataFrame:
    """`example_id, user_id, timestamp, split` of those that have, among `items`, a click and something else shown.

    Those without a time are left out. Raises `DataError` if the table lacks a column.
    """
    kinds = {EXAMPLE: pl.String, USER: pl.String, TIME: pl.Int64, SPLIT: pl.String}
    lists = {SHOWN: pl.List(pl.String), CLICKED: pl.List(pl.String)}
    with table.reading():
        schema = table.scan().collect_schema()
    for name, kind in (kinds | lists).items():
        if schema.get(name) != kind:
            raise DataError(f"{table.path}: no column {name} of type {kind}; import the data set again")
    with table.reading():
        return _known(table, items).select(*kinds).collect(engine="streaming")


def read_impressions(table: ScannedTable, items: pl.Series, chosen: pl.Series) -> pl.DataFrame:
    """`example_id, shown, clicked` of the chosen ones of `list_impressions`, each of `items` once."""
    with table.reading():
        rows = _known(table, items, pl.col(EXAMPLE).is_in(chosen.implode()))
        return rows.select(EXAMPLE, SHOWN, CLICKED).collect(engine="streaming")


def as_shown(impressions: pl.DataFrame) -> pl.DataFrame:
    """The candidates of impressions (with `shown` and `clicked`), in their order and as they were shown."""
    return (
        impressions.select(EXAMPLE, USER, pl.col(SHOWN).alias(ITEM), CLICKED)
        .explode(ITEM, empty_as_null=False)
        .unique([EXAMPLE, ITEM], keep="first", maintain_order=True)
        .with_columns(pl.col(ITEM).is_in(CLICKED).cast(pl.Int8).alias(LABEL))
        .with_columns(pl.when(pl.col(LABEL) == 1).then(pl.lit(TARGET)).otherwise(pl.lit(IMPRESSION)).alias(SOURCE))
        .select(CANDIDATES)
    )


def _known(table: ScannedTable, items: pl.Series, chosen: pl.Expr | None = None) -> pl.LazyFrame:
    is_known = pl.element().is_in(items.implode())
    rows = table.scan().filter(pl.col(TIME).is_not_null() & _usable(None))
    known = (rows if chosen is None else rows.filter(chosen)).with_columns(
        pl.col(name).list.eval(pl.element().filter(is_known)).list.unique(maintain_order=True)
        for name in (SHOWN, CLICKED)
    )
    return known.filter(_usable(None))


def _usable(split: str | None) -> pl.Expr:
    clicks = pl.col(CLICKED).list.n_unique()
    usable = (clicks > 0) & (clicks < pl.col(SHOWN).list.n_unique())
    return usable if split is None else usable & (pl.col(SPLIT) == split)
