"""Arrow streams (the IPC format without a footer) some batches at a time.

Polars reads a stream whole. It is cut here between its messages, as the format's own description has them: four bytes
of ones, the length of a flatbuffer, the flatbuffer, and a body whose length the flatbuffer tells.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import polars as pl

from trsr.data.importing.rows import LINE, RowBatch, faults_frame
from trsr.data.importing.source import SourceFile
from trsr.errors import DataError

_MARK = b"\xff\xff\xff\xff"
_END = _MARK + bytes(4)
_SCHEMA, _DICTIONARY = 1, 2
_ENOUGH = 32 * 2**20
_LONGEST = 2**32
"""A message with more bytes than this is none."""


@dataclass(frozen=True)
class ArrowRows:
    """The columns `wanted` as they are; `line` is the row's number."""

    wanted: tuple[str, ...]

    def read(self, file: SourceFile) -> Iterator[RowBatch]:
        """All rows; `DataError` for a file that is damaged or no stream."""
        row = 0
        for part in _parts(file):
            frame = _frame(part, file)
            number = pl.int_range(row + 1, row + 1 + frame.height, eager=True, dtype=pl.Int64).alias(LINE)
            yield RowBatch(frame.select(number, *self.wanted), faults_frame())
            row += frame.height


def arrow_kinds(file: SourceFile) -> pl.Schema:
    """The columns of a stream; `DataError` as from reading it."""
    with file.open() as stream:
        kind, message = next(_messages(stream, file), (0, b""))
        if kind != _SCHEMA:
            raise _damaged(file)
    return _frame(message, file).schema


def _parts(file: SourceFile) -> Iterator[bytes]:
    """The stream as several, each with the schema, the dictionaries so far, and some batches."""
    head, some = b"", b""
    with file.open() as stream:
        for kind, message in _messages(stream, file):
            if some and (kind == _DICTIONARY or len(some) > _ENOUGH):
                yield head + some
                some = b""
            if kind in (_SCHEMA, _DICTIONARY):
                head += message
            else:
                some += message
    if some:
        yield head + some


def _messages(stream: IO[bytes], file: SourceFile) -> Iterator[tuple[int, bytes]]:
    """What each message of the stream holds, and the message."""
    while prefix := stream.read(8):
        if prefix == _END:
            return
        if len(prefix) < 8 or not prefix.startswith(_MARK):
            raise _damaged(file)
        [length] = struct.unpack("<I", prefix[4:])
        about = _exactly(stream, length, file)
        try:
            kind, body = _field(about, 1, "<B"), _field(about, 3, "<q")
        except struct.error:
            raise _damaged(file) from None
        yield kind, prefix + about + _exactly(stream, body, file)


def _field(table: bytes, number: int, form: str) -> int:
    """A field of the root table of a flatbuffer, 0 where it is left out; `struct.error` where there is none such."""
    [root] = struct.unpack_from("<I", table)
    [back] = struct.unpack_from("<i", table, root)
    [size] = struct.unpack_from("<H", table, root - back)
    place = 4 + 2 * number
    if place >= size:
        return 0
    [offset] = struct.unpack_from("<H", table, root - back + place)
    return int(struct.unpack_from(form, table, root + offset)[0]) if offset else 0


def _exactly(stream: IO[bytes], size: int, file: SourceFile) -> bytes:
    data = stream.read(size) if 0 <= size < _LONGEST else b""
    if len(data) != size:
        raise _damaged(file)
    return data


def _frame(part: bytes, file: SourceFile) -> pl.DataFrame:
    try:
        return pl.read_ipc_stream(io.BytesIO(part + _END))
    except (pl.exceptions.PolarsError, OSError):  # the latter from what a compressed batch is
        raise _damaged(file) from None


def _damaged(file: SourceFile) -> DataError:
    return DataError(f"{file.place}: the Arrow stream is truncated or damaged, or none; copy or write it again")
