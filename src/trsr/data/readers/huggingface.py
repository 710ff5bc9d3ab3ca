"""Data sets of the Hugging Face `datasets` library: saved to disk as Arrow files, or folders of Parquet shards.

Two tables are wanted, one of items and one of interactions. Without `tables` in the settings their columns tell them
apart: interactions have `user_id`, `item_id`, and `timestamp` or `position`; items have `item_id` and no `user_id`.
Splits of one table are read one behind the other.
"""

import json
from dataclasses import replace
from typing import Any

from trsr.config import ColumnMap, ImportConfig, TableConfig, TablesConfig
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER
from trsr.data.importing.reader import Layout, Reader
from trsr.data.importing.source import Source, SourceFile
from trsr.data.importing.tables import column_kinds, files_of, mapped_layout
from trsr.errors import DataError

_STATE = "state.json"
_ENDINGS = (".arrow", ".parquet")
_SHARD = "*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].parquet"


def _recognise(source: Source) -> str:
    states = source.matching(_STATE)
    if any(file.name.endswith(".arrow") for file in source.files) and states:
        return f"{states[0].name} and Arrow files"
    shards = source.matching(_SHARD)
    return f"shards such as {shards[0].name}" if shards else ""


def _layout(source: Source, config: ImportConfig) -> Layout:
    shards = _shards(source)
    tables = config.tables
    notes: list[str] = []
    if tables is not None:
        chosen = [files_of(source, table, _ENDINGS) for table in (tables.items, tables.interactions)]
        items, events = ([file for file in files if file in shards] for files in chosen)
    else:
        items, events, notes = _told_apart(shards)
    if not items or not events:
        found = "; ".join(f"{file.name}: {', '.join(column_kinds(file))}" for file in shards[:4])
        raise DataError(
            f"{source.path}: {len(items)} files of items and {len(events)} of interactions by their columns "
            f"({found or 'no Arrow or Parquet files'}); say under tables in the import settings which are which"
        )
    layout = mapped_layout(items, events, tables or _tables(events[0]))
    return replace(layout, notes=[*layout.notes, *notes])


def _shards(source: Source) -> list[SourceFile]:
    """Parquet files, and the Arrow files that the state of their folder names: others there are caches."""
    shards = [file for file in source.files if file.name.lower().endswith(".parquet")]
    by_name = {file.name: file for file in source.files}
    for state in source.matching(_STATE):
        content = _state(state)
        if content.get("_indices_data_files"):
            raise DataError(f"{state.place}: the rows are picked by an index; flatten_indices() and save again")
        for entry in content["_data_files"]:
            name = f"{state.folder}/{entry['filename']}".removeprefix("/")
            if name not in by_name:
                raise DataError(f"{state.place}: {entry['filename']} is not there; copy the whole folder")
            shards.append(by_name[name])
    return shards


def _state(file: SourceFile) -> dict[str, Any]:
    try:
        with file.open() as stream:
            content = json.load(stream)
        good = all(isinstance(entry["filename"], str) for entry in content["_data_files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise DataError(f"{file.place}: does not name its _data_files; save the data set again")
    return dict(content)


def _told_apart(shards: list[SourceFile]) -> tuple[list[SourceFile], list[SourceFile], list[str]]:
    """Files of items, files of interactions, and notes about those that are neither."""
    items: list[SourceFile] = []
    events: list[SourceFile] = []
    notes: list[str] = []
    for file in shards:
        names = column_kinds(file)
        if ITEM not in names or (USER in names and TIME not in names and POSITION not in names):
            notes.append(f"{file.name}: not read (columns: {', '.join(names)})")
        else:
            (events if USER in names else items).append(file)
    return items, events, notes


def _tables(file: SourceFile) -> TablesConfig:
    names = column_kinds(file)
    time, position, rating = (name if name in names else None for name in (TIME, POSITION, RATING))
    columns = ColumnMap(user=USER, item=ITEM, time=time, position=position, rating=rating)
    return TablesConfig(
        items=TableConfig(file="*", columns=ColumnMap(item=ITEM)),
        interactions=TableConfig(file="*", columns=columns),
    )


READER = Reader(
    "huggingface",
    "Hugging Face data sets, saved to disk or as Parquet shards: items and interactions",
    _recognise,
    _layout,
    frozenset({"tables"}),
)
