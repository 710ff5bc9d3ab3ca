"""Tables of one's own in any format that is read here: delimited text, Parquet, Arrow streams, JSON lines."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from trsr.config import TableConfig, TablesConfig
from trsr.data.columns import TIME
from trsr.data.importing.arrow import ArrowRows, arrow_kinds
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.jsonlines import JsonLines, optional_text, optional_texts
from trsr.data.importing.mapping import MappedEvents, MappedItems
from trsr.data.importing.moments import whole_seconds
from trsr.data.importing.parquet import ParquetRows, parquet_kinds
from trsr.data.importing.reader import Layout, Table
from trsr.data.importing.rows import RowFormat
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import ConfigError, DataError

_JSON = (".jsonl", ".ndjson", ".json")
_DELIMITED = (".csv", ".tsv", ".tab", ".txt", ".dat")
ENDINGS = (".parquet", ".arrow", *_JSON, *_DELIMITED)
"""What names of tables end in."""

_SEPARATORS = ",;\t|"
_LOOKED_AT = 2**20


def files_of(source: Source, config: TableConfig, endings: Sequence[str] = ENDINGS) -> list[SourceFile]:
    """The files of one table: those called so, or else the tables in a folder called so; `DataError` for none."""
    if not PurePosixPath(config.file).name:
        raise ConfigError(f"file: {config.file} names no file; give its name, its folder or a pattern")
    named = [file for file in source.files if PurePosixPath(file.name).match(config.file)]
    if not named:
        tables = [file for file in source.files if file.name.lower().endswith(tuple(endings))]
        named = [f for f in tables if any(part.match(config.file) for part in PurePosixPath(f.name).parents[:-1])]
    if not named:
        seen = ", ".join(file.name for file in source.files[:10])
        raise DataError(f"{source.path}: no file {config.file} there ({seen}); name the file, its folder or a pattern")
    return named


def mapped_layout(items: Sequence[SourceFile], interactions: Sequence[SourceFile], tables: TablesConfig) -> Layout:
    """The layout of files whose columns are mapped; `DataError` where they have not what they are mapped to.

    `ConfigError` where nothing is mapped that orders the events.
    """
    if tables.interactions.columns.time is None and tables.interactions.columns.position is None:
        raise ConfigError("tables: interactions: columns: name the column of the time or of the position")
    reads, notes = [], []
    first: MappedItems | None = None
    for file in items:
        mapped = MappedItems(tables.items.columns, column_kinds(file, tables.items), file.place)
        first = first or mapped
        if mapped.schema() != first.schema():
            raise DataError(f"{file.place}: other columns, or of other kinds, than {first.place}; make them the same")
        reads.append(Table(file, _rows(file, tables.items, mapped.wanted, mapped.kinds), mapped, apart=True))
    assert first is not None
    if first.left_out:
        notes.append(f"left out, as no text can be made of them: {', '.join(map(repr, first.left_out))}")
    for file in interactions:
        events = MappedEvents(tables.interactions.columns, column_kinds(file, tables.interactions), file.place)
        reads.append(Table(file, _rows(file, tables.interactions, events.wanted, events.kinds), events, apart=True))
    timed = TIME in events.schema()
    arrange = (lambda frame: whole_seconds(frame, TIME)) if timed else None
    return Layout(reads, first.schema(), events.schema(), arrange=arrange, notes=notes)


def column_kinds(file: SourceFile, config: TableConfig | None = None) -> pl.Schema:
    """The columns of a table; all of delimited text are text, those of JSON lines what the first lines have."""
    name = file.name.lower()
    if name.endswith(".parquet"):
        return parquet_kinds(file)
    if name.endswith(".arrow"):
        return arrow_kinds(file)
    if name.endswith(_JSON):
        return _json_kinds(file)
    assert config is not None
    return pl.Schema(dict.fromkeys(_names(file, config), pl.String()))


def _rows(file: SourceFile, config: TableConfig, wanted: tuple[str, ...], kinds: pl.Schema) -> RowFormat:
    name = file.name.lower()
    if name.endswith(".parquet"):
        return ParquetRows(wanted, typed=True)
    if name.endswith(".arrow"):
        return ArrowRows(wanted)
    if name.endswith(_JSON):
        return JsonLines(_Pick({name: kinds[name] for name in wanted}), {name: kinds[name] for name in wanted})
    return Delimited(wanted, separator=_separator(file, config), quoted=config.quoted, encoding=config.encoding)


def _first_line(file: SourceFile, config: TableConfig) -> str:
    text = file.head(_LOOKED_AT).removeprefix(b"\xef\xbb\xbf").decode(config.encoding, errors="replace")
    return next((line for line in text.splitlines() if line.strip()), "")


def _separator(file: SourceFile, config: TableConfig) -> str:
    if config.separator is not None:
        return config.separator
    if file.name.lower().endswith((".tsv", ".tab")):
        return "\t"
    line = _first_line(file, config)
    if config.quoted:
        line = "".join(line.split('"')[::2])
    return max(_SEPARATORS, key=line.count)


def _names(file: SourceFile, config: TableConfig) -> list[str]:
    line, separator = _first_line(file, config), _separator(file, config)
    if not line:
        raise DataError(f"{file.place}: the first line holds no names of columns; write them there")
    names = next(csv.reader(io.StringIO(line), delimiter=separator)) if config.quoted else line.split(separator)
    names = [name.strip() for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{file.place}: two columns are named {twice!r}; rename one")
    return names


def _json_kinds(file: SourceFile) -> pl.Schema:
    """What the whole lines among the first bytes have: text, lists of text, and what is neither."""
    data = file.head(_LOOKED_AT)
    lines = data.split(b"\n") if len(data) < _LOOKED_AT else data.split(b"\n")[:-1]
    kinds: dict[str, pl.DataType] = {}
    for line in lines:
        record = _record(line)
        for name, value in record.items():
            if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value)):
                kinds[name] = pl.Struct([])
            elif isinstance(value, list) and kinds.get(name) != pl.Struct:
                kinds[name] = pl.List(pl.String())
            else:
                kinds.setdefault(name, pl.String())
    if not kinds:
        raise DataError(f"{file.place}: no line is an object of JSON; write one object a line")
    return pl.Schema(kinds)


def _record(line: bytes) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # the reading of all lines tells which are bad
        return {}
    return record if isinstance(record, dict) else {}


class _Pick:
    """Takes columns of `kinds` out of a record."""

    def __init__(self, kinds: Mapping[str, pl.DataType]) -> None:
        self.kinds = kinds

    def __call__(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            name: optional_texts(record, name) if kind == pl.List else optional_text(record, name)
            for name, kind in self.kinds.items()
        }
