"""Delimited text (CSV, TSV, `::`): Polars reads a block at once where all is well, this module row by row where not.

What Polars read is believed only if every row has as many fields as belong and every line of the block is accounted
for; so a bad row is found with its line, wherever it is, and costs the speed of its own block only.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from trsr.data.importing.blocks import Block, blocks
from trsr.data.importing.marks import count, rows_of
from trsr.data.importing.rows import LINE, RowBatch, fault, faults_frame
from trsr.data.importing.source import SourceFile
from trsr.errors import DataError

_LONGEST_RECORD = 1000
"""Lines of one record at most; a quote that is open for longer was never closed."""

_BLANK = " \t"
_SKIPPED = (b"\n", b"\xef\xbb\xbf")
"""What Polars takes for no part of the first row; a carriage return it takes for the end of one in some places."""
_STAND_INS = tuple(map(chr, range(0xE000, 0xF8FF)))

_Fault = tuple[int, str, str]
_Record = tuple[int, list[str]]


@dataclass(frozen=True)
class Delimited:
    """`columns` are the names of all fields in order, None where the first row says them.

    `wanted` are those that are read; where the first row gives the names, all of `wanted` but the `optional` ones must
    be among them, and an optional one that is not there is null. `quoted`: a field in double quotes may hold
    separators and line feeds. Values are text, null where a field is empty.
    """

    wanted: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    optional: tuple[str, ...] = ()
    separator: str = ","
    quoted: bool = True
    encoding: str = "utf-8"

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows; `DataError` for a first row without the names that are needed."""
        names = self.columns
        with file.open() as stream:
            source = blocks(stream, b'"' if self.quoted else b"")
            block = next(source, None)
            while block is not None:
                begin = used = 0
                if names is None:
                    names, begin = self._header(block, file)
                if names is not None:
                    batch, used = self._batch(_behind(block, begin), names)
                    yield batch
                try:
                    block = source.send(begin + used)
                except StopIteration:
                    block = None
        if names is None:
            raise DataError(f"{file.place}: the file is empty; fetch or write it again")

    def _header(self, block: Block, file: SourceFile) -> tuple[tuple[str, ...] | None, int]:
        """The names in the first record, None if all lines are blank; how many bytes of the block were read for it."""
        *lines, _ = block.data.split(b"\n", _LONGEST_RECORD)
        records = _Records(replace(block, data=b"".join(line + b"\n" for line in lines)), self)
        line, names = next(iter(records), (0, []))
        for at, reason, _ in records.faults:
            raise DataError(
                f"{file.place}: line {at}: no names of columns ({reason}); is it {self.encoding} text with a header?"
            )
        if not names:
            return None, records.used
        names = [name.strip() for name in names]
        for name in self.wanted:
            if name not in names and name not in self.optional:
                known = ", ".join(names)[:200]
                raise DataError(
                    f"{file.place}: line {line}: column {name} is missing (columns: {known}); add or rename it"
                )
        if len(set(names)) < len(names):
            raise DataError(f"{file.place}: line {line}: a name of a column is there twice; rename one")
        return tuple(names), records.used

    def _batch(self, block: Block, names: Sequence[str]) -> tuple[RowBatch, int]:
        """The rows of a block, and how many of its bytes they were; the rest may go on in the next block."""
        frame, faults, used = self._fast(block, names), faults_frame(), len(block.data)
        if frame is None:
            frame, faults, used = self._slow(block, names)
        missing = [pl.lit(None, pl.String).alias(name) for name in self.wanted if name not in names]
        return RowBatch(frame.with_columns(missing).select(LINE, *self.wanted), faults), used

    def _fast(self, block: Block, names: Sequence[str]) -> pl.DataFrame | None:
        """What Polars reads, None where the block wants a closer look."""
        readable = self._readable(block)
        if readable is None:
            return None
        data, separator = readable
        quotes = self.quoted and b'"' in data
        rows = rows_of(data, separator) if quotes else None
        if quotes and (rows is None or (rows.separators != len(names) - 1).any()):
            return None
        read = [place for place, name in enumerate(names) if quotes or name in self.wanted or name == names[-1]]
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                schema=dict.fromkeys(names, pl.String),
                columns=read,
                separator=separator,
                quote_char='"' if self.quoted else None,
            )
        except pl.exceptions.PolarsError:
            return None
        if frame.height != (block.lines if rows is None else rows.lines.size):
            return None
        if rows is None and not _all_fields(frame, data, separator, names):
            return None
        if len(names) == 1 and frame.to_series().str.strip_chars(_BLANK).fill_null("").eq("").any():
            return None
        if rows is not None and rows.blank_quoted:
            frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()))
        if rows is None:
            return frame.with_columns(pl.int_range(block.line, block.line + pl.len(), dtype=pl.Int64).alias(LINE))
        return frame.with_columns(pl.Series(LINE, rows.lines + block.line))

    def _readable(self, block: Block) -> tuple[bytes, str] | None:
        """The block in UTF-8 with a separator of one character; None where it is seen that Polars would misread it."""
        data, separator = block.data, self.separator
        if self.encoding != "utf-8":
            try:
                data = data.decode(self.encoding).encode()
            except UnicodeError:
                return None
        if b"\0" in data or b"\r" in data or data.startswith(_SKIPPED):
            return None
        if len(separator.encode()) > 1:
            if b"\t" in data or self.quoted:
                return None
            data, separator = data.replace(separator.encode(), b"\t"), "\t"
        return data, separator

    def _slow(self, block: Block, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        records, fields = _Records(block, self), len(names)
        places = {name: place for place, name in enumerate(names) if name in self.wanted}
        rows, faults = [], []
        for line, values in records:
            if len(values) == fields:
                rows.append((line, *(values[place] or None for place in places.values())))
            else:
                told = self.separator.join(values)
                faults.append(fault(line, f"{len(values)} fields where {fields} belong", told))
        schema = {LINE: pl.Int64, **dict.fromkeys(places, pl.String)}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame, faults_frame(sorted(faults + records.faults)), records.used


def _behind(block: Block, begin: int) -> Block:
    """What stands in a block behind its first `begin` bytes."""
    return replace(block, data=block.data[begin:], line=block.line + block.data.count(b"\n", 0, begin))


def _all_fields(frame: pl.DataFrame, data: bytes, separator: str, names: Sequence[str]) -> bool:
    """Whether every line of text without quotes has as many separators as belong.

    Polars leaves out what a row has too much and fills up with nulls what it has too little.
    """
    if count(data, separator.encode()) != frame.height * (len(names) - 1):
        return False
    if not frame[names[-1]].null_count():
        return True  # no row has too little, so none has too much
    rows = rows_of(data, separator, quoted=False)
    return rows is not None and bool((rows.separators == len(names) - 1).all())


def _no_text(text: str) -> str:
    """Why this is no text, "" if it is."""
    if "\0" in text:
        return "a NUL character in it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not text in the file's encoding"
    return ""


class _Records:
    """The records of a block, each with the line it begins at; `faults` gets the others while it is read.

    `used` is how many bytes were read so far; at the end it is less than all where the last record stands open and
    the file goes on.
    """

    def __init__(self, block: Block, form: Delimited) -> None:
        self.faults: list[_Fault] = []
        self.used = 0
        self._block, self._form = block, form

    def __iter__(self) -> Iterator[_Record]:
        """Half a surrogate pair stands for a byte that is no text."""
        lines = self._block.data.decode(self._form.encoding, "surrogateescape").split("\n")[:-1]
        at = 0
        while at < len(lines):
            taken, values, reason = self._record(lines, at)
            if not taken:
                return
            reason = _no_text("\n".join(lines[at : at + taken])) or reason
            if reason:
                self.faults.append(fault(self._block.line + at, reason, lines[at]))
            self.used = self._behind(taken)
            if values and not reason:
                yield self._block.line + at, values
            at += taken

    def _behind(self, lines: int) -> int:
        end = self.used
        for _ in range(lines):
            end = self._block.data.index(b"\n", end) + 1
        return end

    def _record(self, lines: list[str], at: int) -> tuple[int, list[str], str]:
        """How many lines the record takes, 0 if it may end in the next block; its fields, and what is wrong with it."""
        form, line = self._form, lines[at]
        if not line.strip(_BLANK) and (form.separator not in line):
            return 1, [], ""
        if not form.quoted:
            return 1, line.split(form.separator), ""
        taken = _paired(lines, at)
        if taken:
            values = _fields("\n".join(lines[at : at + taken]), form.separator)
            return (taken, values, "") if values else (1, [], "a quote inside a field that is not written twice")
        if self._block.more and len(lines) - at < _LONGEST_RECORD:
            return 0, [], ""
        return 1, [], "a quote that is never closed"


def _paired(lines: Sequence[str], at: int) -> int:
    """In how many lines from one on quotes come in pairs, 0 if they never do."""
    quotes = 0
    for place in range(at, min(len(lines), at + _LONGEST_RECORD)):
        quotes += lines[place].count('"')
        if quotes % 2 == 0:
            return place - at + 1
    return 0


def _fields(text: str, separator: str) -> list[str]:
    """The fields of one record, empty if it is none; a carriage return alone is a character like others."""
    csv.field_size_limit(2**31 - 1)
    stand_in = ""
    if "\r" in text:
        stand_in = next(character for character in _STAND_INS if character not in text)
        text = text.replace("\r", stand_in)
    try:
        [values] = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        return []
    return [value.replace(stand_in, "\r") for value in values] if stand_in else values
