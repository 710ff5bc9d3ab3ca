"""Lines of JSON, or of Python literals as some older downloads have them, each turned into a flat row."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isinf, isnan
from threading import Lock
from typing import Any

import polars as pl

from trsr.data.importing.blocks import Block, blocks
from trsr.data.importing.rows import LINE, RowBatch, fault, faults_frame
from trsr.data.importing.source import SourceFile

_LITERALS = ("{'", "{u'")
_NAMES = {"True": "true", "False": "false", "None": "null"}
_TOKEN = re.compile(r"""u?'([^'\\]*(?:\\.[^'\\]*)*)'|u?"([^"\\]*(?:\\.[^"\\]*)*)"|\b(True|False|None)\b""")
_SAME_ESCAPES = re.compile(r"[^\\]*(?:\\(?:[nrt\\]|u[0-9a-fA-F]{4})[^\\]*)*")
_BLOCK = 8 * 2**20  # bytes; as Python objects a block takes several times that
_HEAD, _FIRST = 2**20, 5
_DIGITS = 100  # of a number at most


class BadRowError(Exception):
    """What is wrong with one record, in a few words."""


Pick = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class JsonLines:
    """`pick` turns a record into values for the columns of `schema`, or raises `BadRowError`."""

    pick: Pick
    schema: Mapping[str, pl.DataType | type[pl.DataType]]
    literals: bool = False

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows, in batches."""
        with file.open() as stream:
            for block in blocks(stream, size=_BLOCK):
                yield self.batch(block)

    def batch(self, block: Block) -> RowBatch:
        """The rows of one block."""
        rows, faults = [], []
        for line, data in enumerate(block.data.split(b"\n")[:-1], block.line):
            if not data.strip():
                continue
            try:
                picked = self.pick(_record(data, self.literals))
                rows.append((line, *(_text(picked.get(name)) for name in self.schema)))
            except BadRowError as error:
                faults.append(fault(line, str(error), data.decode(errors="replace")))
            except RecursionError:
                faults.append(fault(line, "lists or objects in each other too deep", data.decode(errors="replace")))
        frame = self._frame(rows)
        if frame is None:  # one value, such as a number of thirty digits, spoils it for all
            frames = [(row, self._frame([row])) for row in rows]
            faults += [fault(row[0], "a value too large for its column") for row, one in frames if one is None]
            frame = pl.concat([self._empty(), *(one for _, one in frames if one is not None)])
        return RowBatch(frame, faults_frame(sorted(faults)))

    def _frame(self, rows: list[tuple[Any, ...]]) -> pl.DataFrame | None:
        """Rows as a frame, None where Polars has no room for a value."""
        try:
            return pl.DataFrame(rows, schema=self._empty().schema, orient="row")
        except (pl.exceptions.PolarsError, OverflowError, TypeError):
            return None

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={LINE: pl.Int64, **self.schema})


def _record(data: bytes, literals: bool) -> Mapping[str, Any]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadRowError("not UTF-8 text") from None
    record = None
    if not (literals and text.startswith(_LITERALS)):
        record = _json(text)
    if record is None and literals:
        record = _literal(text)
    if not isinstance(record, dict):
        raise BadRowError("not an object of JSON")
    return record


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(text: str) -> Any:
    """What a Python literal says; most are JSON but for their quotes and names, and read faster as such."""
    try:
        record = _json(_TOKEN.sub(_as_json, text))
        if record is not None:
            return record
        return literal_value(text)
    except (ValueError, RecursionError):
        return None


_FILTERS = Lock()  # the filters of warnings are those of all threads, and several read and clean


def literal_value(text: str) -> Any:
    """The value of a Python literal; `ValueError` where it is none. An escape that Python does not know is itself."""
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from None


def _as_json(token: re.Match[str]) -> str:
    single, double, name = token.groups()
    if name:
        return _NAMES[name]
    text: str = double if single is None else single
    if "\\" in text:
        if single is not None:
            text = text.replace("\\'", "'")
        if not _SAME_ESCAPES.fullmatch(text):
            return json.dumps(literal_value(token[0]))
    return '"' + text.replace('"', '\\"') + '"'


def _text(value: Any) -> Any:
    """JSON may hold half a surrogate pair, which is no text."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode(errors="replace").decode()
        return value
    return [_text(entry) for entry in value] if isinstance(value, list) else value


def first_record(file: SourceFile) -> Mapping[str, Any]:
    """The first record that can be read among the first lines of a file, JSON or a literal; empty if there is none."""
    lines = file.head(_HEAD).split(b"\n")
    for data in lines[:_FIRST]:
        try:
            return _record(data, literals=True)
        except BadRowError:
            continue
    return {}


# values of a record, for `pick`


def required_text(record: Mapping[str, Any], name: str) -> str:
    """A text that must be there, such as an id; a whole number is one too."""
    value = record.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return _written(value, name)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"{name} is missing or no text")
    return value.strip()


def optional_text(record: Mapping[str, Any], name: str) -> str | None:
    """A text, numbers as they are written, null where there is none."""
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return _written(value, name)
    if isinstance(value, float):
        return str(value)
    raise BadRowError(f"{name} is no text")


def _written(value: int, name: str) -> str:
    if abs(value) >= 10**_DIGITS:
        raise BadRowError(f"{name} is too long a number")
    return str(value)


def optional_texts(record: Mapping[str, Any], name: str) -> list[str] | None:
    """A list of texts; one text is a list of one, lists within it are joined to it, null where there is none."""
    value = record.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, list):
        return [str(value)]
    found: list[str] = []
    for entry in value:
        parts = entry if isinstance(entry, list) else [entry]
        found += [str(part) for part in parts if part or isinstance(part, int | float)]  # 0 and false say something
    return found


def optional_number(record: Mapping[str, Any], name: str) -> float | None:
    """A number, also where it is written as a text; null where there is none, or NaN."""
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        number = float("infinity" if isinstance(value, bool | list | dict) else value)
    except (ValueError, TypeError, OverflowError):
        raise BadRowError(f"{name} is no number") from None
    if isinf(number) or "_" in str(value)[:_DIGITS]:
        raise BadRowError(f"{name} is no number")
    return None if isnan(number) else number
