"""The best that any ranker could do on the synthetic bookshop: rank by the true utility."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trsr.data.bookshop.readers import Taste, Traits, utility
from trsr.data.reading import read_table
from trsr.errors import DataError


@dataclass(frozen=True)
class Truth:
    """The hidden traits of every book and the hidden taste of every reader at every event.

    `items` has item_id, main, secondary, mood, popularity; `readers` has user_id, order, lasting, passing, mood.
    """

    items: pl.DataFrame
    readers: pl.DataFrame


def read_truth(folder: Path) -> Truth:
    """The truth that `write_bookshop` left beside the data; `DataError` where there is none."""
    frames = []
    for name in ("item_truth.parquet", "reader_truth.parquet"):
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: no such file; only a folder written by `trsr data synth` carries its truth")
        frames.append(read_table(path))
    return Truth(*frames)


def oracle_scores(truth: Truth, candidates: pl.DataFrame, cuts: Mapping[str, int]) -> NDArray[np.float64]:
    """True utility of every candidate at the moment of its example's target, in the order of the rows.

    `candidates` has example_id, user_id, item_id; `cuts` maps an example_id to the index of its target among
    the user's events. Raises `DataError` for an example, item or event that is not in `cuts` or the truth.
    """
    moments = pl.DataFrame(
        {"example_id": list(cuts), "order": list(cuts.values())},
        schema={"example_id": candidates.schema["example_id"], "order": truth.readers.schema["order"]},
    )
    items = truth.items.with_columns(known_item=True)
    readers = truth.readers.rename({"mood": "liked_mood"})
    rows = (
        candidates.select("example_id", "user_id", "item_id")
        .join(moments, on="example_id", how="left", maintain_order="left")
        .join(items, on="item_id", how="left", maintain_order="left")
        .join(readers, on=["user_id", "order"], how="left", maintain_order="left")
    )
    _refuse_unknown(rows)
    lasting = rows["lasting"].list
    columns = (lasting.get(0), lasting.get(1), rows["passing"], rows["liked_mood"])
    first, second, passing, mood = (column.to_numpy().astype(np.str_) for column in columns)
    taste = Taste(first, second, passing, mood)
    return utility(Traits.of(rows), taste)


def _refuse_unknown(rows: pl.DataFrame) -> None:
    for column, what in (
        ("order", "its example_id is not among the cuts"),
        ("known_item", "its item_id is not in item_truth"),
        ("liked_mood", "its user has no event at the cut in reader_truth"),
    ):
        unknown = rows.filter(pl.col(column).is_null())
        if len(unknown):
            first = unknown.row(0, named=True)
            place = f"example {first['example_id']}, user {first['user_id']}, item {first['item_id']}"
            raise DataError(f"candidates: {place}: {what}; give the truth of the same bookshop")
