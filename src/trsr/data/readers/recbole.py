"""RecBole's atomic files: `NAME.inter` and `NAME.item`, whose first line gives each field as `name:type`.

Types are token, token_seq, float and float_seq. Files are written without quoting; their separator is a tab unless it
was changed, and what stands behind the first field's type tells it. A text such as a title is a `token_seq` of its
words, and so is a list of genres: both are kept as they are written.
"""

import re
from dataclasses import replace

from trsr.config import ColumnMap, ImportConfig, TableConfig, TablesConfig
from trsr.data.columns import ITEM, RATING, TIME, USER
from trsr.data.importing.reader import Layout, Reader
from trsr.data.importing.source import Source, SourceFile
from trsr.data.importing.tables import mapped_layout
from trsr.errors import DataError

_HEADER = re.compile(r"^[^:\s]+:(?:token_seq|token|float_seq|float)(?P<separator>[^\w\r\n])")
_LISTED = "item_id_list:token_seq"
_USERS = (USER, "session_id")


def _recognise(source: Source) -> str:
    found = source.matching("*.inter")
    items = source.matching("*.item")
    return f"{found[0].base} and {items[0].base}" if found and items and _separator(found[0]) else ""


def _layout(source: Source, config: ImportConfig) -> Layout:
    items, events = source.matching("*.item"), source.matching("*.inter")
    if len(items) != 1 or not events:
        raise DataError(
            f"{source.path}: {len(items)} files *.item and {len(events)} *.inter; give the folder of one data set, "
            "with NAME.item and NAME.inter"
        )
    whole = [file for file in events if file.name == re.sub(r"(?i)item$", "inter", items[0].name)]
    events = whole or events
    tables = TablesConfig(items=_items(items[0]), interactions=_interactions(events[0]))
    layout = mapped_layout(items, events, tables)
    notes = [f"{items[0].base}: left out, vectors: {', '.join(vectors)}" for vectors in [_vectors(items[0])] if vectors]
    notes += [f"{file.base}: not read" for file in source.matching("*.user", "*.kg", "*.link", "*.net", "*.ent")]
    return replace(layout, notes=[*layout.notes, *notes])


def _items(file: SourceFile) -> TableConfig:
    fields = _fields(file)
    item = _field(file, ITEM)
    attributes = {
        field.rpartition(":")[0]: field for field in fields if field != item and not field.endswith(":float_seq")
    }
    return _table(file, ColumnMap(item=item, attributes=attributes or None))


def _interactions(file: SourceFile) -> TableConfig:
    fields = _fields(file)
    if _LISTED in fields:
        raise DataError(f"{file.place}: sessions cut into prefixes ({_LISTED}); take the file with one event a line")
    rating = next((field for field in fields if field == f"{RATING}:float"), None)
    columns = ColumnMap(user=_field(file, *_USERS), item=_field(file, ITEM), time=_field(file, TIME), rating=rating)
    return _table(file, columns)


def _table(file: SourceFile, columns: ColumnMap) -> TableConfig:
    return TableConfig(file=file.name, separator=_separator(file), quoted=False, columns=columns)


def _separator(file: SourceFile) -> str:
    """What stands between the fields; "" if the first line is not one of an atomic file."""
    found = _HEADER.match(file.head(4096).decode(errors="replace").removeprefix("\ufeff"))
    return found["separator"] if found else ""


def _fields(file: SourceFile) -> list[str]:
    separator = _separator(file)
    if not separator:
        raise DataError(f"{file.place}: the first line has no fields like user_id:token; write them there")
    line = file.head().decode(errors="replace").removeprefix("\ufeff").partition("\n")[0]
    return [field.strip() for field in line.split(separator)]


def _field(file: SourceFile, *names: str) -> str:
    fields = _fields(file)
    for name in names:
        for field in fields:
            if field.rpartition(":")[0] == name:
                return field
    known = ", ".join(fields)
    raise DataError(f"{file.place}: no field {' or '.join(names)} (fields: {known}); rename the one that is it")


def _vectors(file: SourceFile) -> list[str]:
    return [field for field in _fields(file) if field.endswith(":float_seq")]


READER = Reader("recbole", "RecBole's atomic files: NAME.inter and NAME.item", _recognise, _layout)
