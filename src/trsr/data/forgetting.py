"""Taking a user's events out of a dataset folder."""

from pathlib import Path

import polars as pl

from trsr.data.columns import USER
from trsr.data.folder import COMPRESSION
from trsr.data.reading import ScannedTable
from trsr.errors import DataError
from trsr.files import whole_file


def count_events(folder: Path, user: str) -> int:
    """How many events of `user` are in `interactions.parquet` of a dataset folder; `DataError` if it cannot be read."""
    table = _open(folder)
    with table.reading():
        return int(table.scan().select(_of(user).sum()).collect(engine="streaming").item())


def forget_events(folder: Path, user: str) -> int:
    """Rewrite `interactions.parquet` of a dataset folder without the events of `user`; gives how many these were.

    The file is replaced whole or stays as it was; all other rows and columns stay as they are, in their order. Integer
    ids are told by their digits, as when the folder is read. Memory does not grow with the file.
    """
    removed = count_events(folder, user)
    if removed:
        table = _open(folder)
        with whole_file(folder / "interactions.parquet") as work, table.reading():
            table.scan().filter(~_of(user)).sink_parquet(work, maintain_order=True, compression=COMPRESSION)
    return removed


def _of(user: str) -> pl.Expr:
    return pl.col(USER).cast(pl.String).eq_missing(user)


def _open(folder: Path) -> ScannedTable:
    path = folder / "interactions.parquet"
    table = ScannedTable.open(path)
    with table.reading():
        columns = table.scan().collect_schema()
    if USER not in columns:
        raise DataError(f"{path}: no column {USER}; add it, or give the folder of a dataset")
    return table
