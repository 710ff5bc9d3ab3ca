"""A dataset folder, to be cleaned and filtered again: `items.parquet` and `interactions.parquet`.

Attributes keep their types. `impressions.parquet`, if there, is copied as it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from trsr.config import ColumnMap, ImportConfig, TableConfig, TablesConfig
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER, WEIGHT
from trsr.data.importing.parquet import ParquetRows, parquet_kinds
from trsr.data.importing.reader import IMPRESSIONS, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import LINE
from trsr.data.importing.source import Source, SourceFile
from trsr.data.importing.tables import mapped_layout
from trsr.errors import DataError

_OPTIONAL = (TIME, POSITION, RATING, WEIGHT)


def _file(source: Source, name: str) -> SourceFile | None:
    return next((file for file in source.files if file.name == f"{name}.parquet"), None)


def _recognise(source: Source) -> str:
    items, interactions = _file(source, ITEMS), _file(source, INTERACTIONS)
    return f"{items.name} and {interactions.name}" if items and interactions else ""


def _layout(source: Source, config: ImportConfig) -> Layout:
    items, interactions = _file(source, ITEMS), _file(source, INTERACTIONS)
    if items is None or interactions is None:
        raise DataError(f"{source.path}: a dataset folder has items.parquet and interactions.parquet; give one")
    kinds = parquet_kinds(interactions)
    layout = mapped_layout([items], [interactions], _tables(items, interactions, kinds))
    others = [name for name in kinds if name not in (USER, ITEM, *_OPTIONAL)]
    notes = [*layout.notes, *([f"columns of interactions that are not read: {', '.join(others)}"] if others else [])]
    impressions = _file(source, IMPRESSIONS)
    if impressions is None:
        return replace(layout, notes=notes)
    shown = parquet_kinds(impressions)
    copied = Table(impressions, ParquetRows(tuple(shown), typed=True), _impressions)
    return replace(layout, tables=[*layout.tables, copied], impressions=shown, notes=notes)


def _tables(items: SourceFile, interactions: SourceFile, kinds: pl.Schema) -> TablesConfig:
    if TIME not in kinds and POSITION not in kinds:
        known = ", ".join(kinds)
        raise DataError(f"{interactions.place}: neither {TIME} nor {POSITION} is there (columns: {known}); add one")
    named = _present(kinds, _OPTIONAL)
    columns = ColumnMap(
        user=USER,
        item=ITEM,
        time=named.get(TIME),
        position=named.get(POSITION),
        rating=named.get(RATING),
        weight=named.get(WEIGHT),
    )
    return TablesConfig(
        items=TableConfig(file=items.name, columns=ColumnMap(item=ITEM)),
        interactions=TableConfig(file=interactions.name, columns=columns),
    )


def _present(kinds: pl.Schema, names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names if name in kinds}


def _impressions(frame: pl.DataFrame) -> Batches:
    return {IMPRESSIONS: frame.drop(LINE)}


READER = Reader("trsr", "a dataset folder: items.parquet and interactions.parquet", _recognise, _layout)
