"""Amazon 2018 by category as splits of histories: CATEGORY.item.json, and train, valid and test CSV.

The layout of generative recommenders such as MiniOneRec, not of the data set's makers. A row of the CSV is an event
with the user's last events before it, without times; ids of items are whole numbers. A user's events are put together
from all rows. Products are one object of JSON, from ids to texts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, POSITION, USER
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.jsoncolumns import absent
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import LINE, RowBatch, fault, faults_frame, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

_ATTRIBUTES = ("title", "brand", "categories", "description")
_ITEMS = pl.Schema({ITEM: pl.String, **dict.fromkeys(_ATTRIBUTES, pl.String)})
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, POSITION: pl.Int64})
_USER, _HISTORY, _ITEM = _COLUMNS = ("user_id", "history_item_id", "item_id")
_LISTED = r"^\[(?:\d+(?:, ?\d+)*)?\]$"
_PARTS = ("train", "valid", "test")
_REMEMBERED = 50
"""More events than any history in the files has."""


@dataclass(frozen=True)
class _Products:
    """The one object of a `.item.json`; the `line` of a product is its place in it, from 1."""

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All products in one batch; `DataError` for a file that is no object of JSON."""
        with file.open() as stream:
            try:
                products = json.loads(stream.read())
            except ValueError as error:  # also what is no UTF-8
                raise DataError(f"{file.place}: not JSON ({error}); fetch it again") from None
        if not isinstance(products, dict):
            raise DataError(f"{file.place}: not an object from ids to products; fetch it again")
        rows, faults = [], []
        for place, (item, fields) in enumerate(products.items(), 1):
            if isinstance(fields, dict) and all(isinstance(fields.get(name) or "", str) for name in _ATTRIBUTES):
                rows.append((place, item, *(fields.get(name) or None for name in _ATTRIBUTES)))
            else:
                faults.append(fault(place, f"product {item} is not described by texts", json.dumps(fields)))
        yield RowBatch(pl.DataFrame(rows, {LINE: pl.Int64, **_ITEMS}, orient="row"), faults_frame(faults))


class _Sequences:
    """Puts the events of each user together: every row adds its item, and what its history has beyond that."""

    def __init__(self) -> None:
        self._last: dict[str, list[str]] = {}
        self._count: dict[str, int] = {}

    def __call__(self, frame: pl.DataFrame) -> Batches:
        good, faults = sift(
            frame,
            {
                "no user_id": absent(_USER),
                "no item_id": absent(_ITEM),
                "history_item_id is no list of whole numbers": ~pl.col(_HISTORY).str.contains(_LISTED).fill_null(False),
            },
        )
        events: list[tuple[str, str, int]] = []
        for user, listed, item in good.select(_COLUMNS).iter_rows():
            events += self._new(user, [entry.strip() for entry in listed[1:-1].split(",") if entry], item)
        return {INTERACTIONS: pl.DataFrame(events, _EVENTS, orient="row"), FAULTY: faults}

    def _new(self, user: str, history: list[str], item: str) -> list[tuple[str, str, int]]:
        last, count = self._last.get(user, []), self._count.get(user, 0)
        shared = next(n for n in range(min(len(last), len(history)), -1, -1) if last[len(last) - n :] == history[:n])
        new = [*history[shared:], item]
        self._last[user], self._count[user] = (last + new)[-_REMEMBERED:], count + len(new)
        return [(user, entry, place) for place, entry in enumerate(new, count)]


def _recognise(source: Source) -> str:
    products, rows = source.matching("*.item.json"), _rows(source)
    return f"{products[0].base} and {rows[0].base}" if products and rows else ""


def _rows(source: Source) -> list[SourceFile]:
    """The CSV files with histories, in the order of time."""
    found = []
    for file in source.matching("*.csv"):
        names = file.head(4096).split(b"\n", 1)[0].decode(errors="replace").strip().split(",")
        if set(_COLUMNS) <= set(names):
            found.append(file)
    return sorted(found, key=_part_of)


def _part_of(file: SourceFile) -> int:
    named = f"{file.folder}/{file.base}".lower()
    return next((number for number, name in enumerate(_PARTS) if name in named), len(_PARTS))


def _layout(source: Source, config: ImportConfig) -> Layout:
    products, rows = source.matching("*.item.json"), _rows(source)
    if len(products) != 1 or not rows:
        raise DataError(
            f"{source.path}: {len(products)} files .item.json and {len(rows)} .csv with histories; "
            "give the folder of one category, with one .item.json"
        )
    parts = {_part_of(file) for file in rows}
    missing = [name for number, name in enumerate(_PARTS) if number not in parts]
    notes = [f"no {' and no '.join(missing)} file: events that only those have are not there"] if missing else []
    sequences = _Sequences()
    return Layout(
        [
            Table(products[0], _Products(), lambda frame: {ITEMS: frame}),
            *(Table(file, Delimited(_COLUMNS), sequences) for file in rows),
        ],
        _ITEMS,
        _EVENTS,
        notes=notes,
    )


READER = Reader("amazon18-splits", "Amazon 2018 by category: *.item.json and CSV of histories", _recognise, _layout)
