"""Impressions: lists of items that people were shown, with those they clicked, as candidate sets."""

from pathlib import Path

import polars as pl

from trsr.data.columns import CANDIDATES, EXAMPLE, IMPRESSION, ITEM, LABEL, SOURCE, SPLIT, TARGET, USER
from trsr.data.reading import ScannedTable
from trsr.data.seeds import generator
from trsr.errors import DataError

NAME = "impressions.parquet"


def impression_candidates(
    folder: Path, split: str | None = None, most: int | None = None, seed: int = 7
) -> pl.DataFrame:
    """The candidates table of the impressions of a dataset folder: what was clicked has label 1 and source "target".

    Only impressions with a click and with something shown beside it, and of these only those of `split` and at most
    `most`, drawn by the seed. An item that was shown twice in one impression counts once. Raises `DataError` if the
    folder has no impressions, or none is left.
    """
    if not (folder / NAME).is_file():
        raise DataError(f"{folder}: no {NAME}; import a data set that has impressions, such as MIND")
    table = ScannedTable.open(folder / NAME)
    with table.reading():
        chosen = table.scan().filter(_usable(split))
        rows = chosen.select(pl.len()).collect(engine="streaming").item()
        if most is not None and most < rows:
            kept = generator(seed, "impressions").choice(rows, most, replace=False, shuffle=False)
            chosen = chosen.with_row_index("row").filter(pl.col("row").is_in(pl.Series(sorted(kept)).implode()))
        frame = chosen.select(EXAMPLE, USER, pl.col("shown").alias(ITEM), "clicked").collect(engine="streaming")
    if frame.is_empty():
        raise DataError(f"{table.path}: no impression{f' of {split}' if split else ''} has a click; take another split")
    return (
        frame.explode(ITEM, empty_as_null=False)
        .unique([EXAMPLE, ITEM], keep="first", maintain_order=True)
        .with_columns(pl.col(ITEM).is_in("clicked").cast(pl.Int8).alias(LABEL))
        .with_columns(pl.when(pl.col(LABEL) == 1).then(pl.lit(TARGET)).otherwise(pl.lit(IMPRESSION)).alias(SOURCE))
        .select(CANDIDATES)
    )


def _usable(split: str | None) -> pl.Expr:
    clicks = pl.col("clicked").list.n_unique()
    usable = (clicks > 0) & (clicks < pl.col("shown").list.n_unique())
    return usable if split is None else usable & (pl.col(SPLIT) == split)
