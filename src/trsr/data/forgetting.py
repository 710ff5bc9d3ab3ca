"""Taking a user's events out of a dataset folder."""

from pathlib import Path

import polars as pl

from trsr.data.columns import USER
from trsr.data.reading import read_table
from trsr.errors import DataError
from trsr.files import whole_file


def forget_events(folder: Path, user: str) -> int:
    """Rewrite `interactions.parquet` of a dataset folder without the events of `user`; gives how many these were.

    The file is replaced whole or stays as it was; all other rows and columns stay as they are, in their order. Integer
    ids are told by their digits, as when the folder is read. `DataError` if there is no such user.
    """
    path = folder / "interactions.parquet"
    events = read_table(path)
    if USER not in events.columns:
        raise DataError(f"{path}: no column {USER}; add it, or give the folder of a dataset")
    of_others = events.filter(pl.col(USER).cast(pl.String).ne_missing(user))
    removed = events.height - of_others.height
    if not removed:
        raise DataError(f"{path}: user {user!r} has no events; check the id")
    with whole_file(path) as work:
        of_others.write_parquet(work)
    return removed
