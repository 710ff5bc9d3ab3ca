"""`DatasetFolder`: what a dataset folder holds, told by the ends of its files; rows are read on demand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from trsr.data.columns import ITEM, POSITION, TIME, USER
from trsr.data.impressions import NAME as IMPRESSIONS
from trsr.data.reading import ScannedTable, dataset_files
from trsr.data.validation import check_columns
from trsr.errors import DataError

INFO = "import.json"
COMPRESSION: Literal["lz4"] = "lz4"
"""Of the tables of a folder, which are read by every run; a quicker codec than zstd, for larger files."""


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset folder of any size, opened without reading its rows; they are neither checked nor cleaned.

    `attributes` are the columns of the items but their id. `items`, `events` and `impressions` are numbers of rows.
    `info` is what `trsr data import` wrote about it, empty for a folder that was made otherwise. For events that are
    checked and in order, make a `Dataset` or `Histories` of the folder.
    """

    path: Path
    attributes: tuple[str, ...]
    items: int
    events: int
    impressions: int
    info: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> "DatasetFolder":
        """Look at the files of `path`; `DataError` in one sentence where one is missing, damaged or lacks a column."""
        files = dataset_files(path)
        tables = [ScannedTable.open(file) for file in files]
        for table, columns in zip(tables, ((ITEM,), (USER, ITEM)), strict=True):
            with table.reading():
                check_columns(table.scan(), columns, str(table.path))
        shown = path / IMPRESSIONS
        impressions = _rows(ScannedTable.open(shown)) if shown.is_file() else 0
        names = tables[0].scan().collect_schema().names()
        attributes = tuple(name for name in names if name != ITEM)
        return cls(path, attributes, _rows(tables[0]), _rows(tables[1]), impressions, _info(path / INFO))

    def item(self, item: str) -> dict[str, Any]:
        """The values of one item by attribute; `DataError` if there is none of this id."""
        found = self._read("items", ITEM, [item])
        if found.is_empty():
            raise DataError(f"{self.path}: no item has the id {item!r}; check the id")
        return found.row(0, named=True)

    def texts(self, items: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The values of some items by id; those that are not there are left out."""
        found = self._read("items", ITEM, list(set(items)))
        return {str(row[ITEM]): row for row in found.iter_rows(named=True)}

    def history(self, user: str) -> pl.DataFrame:
        """All events of one user as they stand in the file, by time where all have one, else by position.

        `DataError` if nobody has this id.
        """
        events = self._read("interactions", USER, [user])
        if events.is_empty():
            raise DataError(f"{self.path}: user {user!r} has no events; check the id")
        timed = TIME in events.columns and not events[TIME].has_nulls()
        clock = [*([TIME] if timed else []), *([POSITION] if POSITION in events.columns else [])]
        return events.sort(clock, maintain_order=True) if clock else events

    def _read(self, name: str, column: str, ids: list[str]) -> pl.DataFrame:
        table = ScannedTable.open(self.path / f"{name}.parquet")
        with table.reading():
            chosen = pl.col(column).cast(pl.String).is_in(ids)
            return table.scan().filter(chosen).collect(engine="streaming")


def _rows(table: ScannedTable) -> int:
    with table.reading():
        return int(table.scan().select(pl.len()).collect().item())


def _info(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: not what trsr data import writes; delete it or import again")
    return found
