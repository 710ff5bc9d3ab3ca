"""A file in blocks of whole records, so that a file of any size is read in the memory of a few blocks."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import IO

from trsr.data.importing.marks import count

SIZE = 8 * 2**20
"""Bytes read at once; of larger blocks the system is busy giving and taking the memory."""

LONGEST = 64 * 2**20
"""A line with more bytes than this is no line of text; its first bytes are given, with a NUL behind them."""

_BOM = b"\xef\xbb\xbf"
_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each ended by a line feed; `line` is the number of the first, from 1.

    `more`: there is more behind it, so that a record that stands open at its end can be given back.
    """

    data: bytes
    line: int
    more: bool = False

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return count(self.data, b"\n")


def blocks(stream: IO[bytes], quote: bytes = b"", size: int = SIZE) -> Generator[Block, int | None, None]:
    """The blocks of a stream, without a byte order mark, with line feeds alone for the ends of lines.

    With `quote`, no block ends between two of them, so that a line feed inside a quoted field parts no record. A quote
    that stands alone misleads this; whoever tells the records apart sends the number of bytes that were whole records,
    and the next block begins behind them.
    """
    line, left, reads = 1, b"", _reads(stream, size)
    while True:
        read = next(reads, b"")
        data = left + read
        if not read:
            if data:
                yield Block(data if data.endswith(b"\n") else data + b"\n", line)
            return
        end, more = _end(data, quote), True
        if not end and len(data) < LONGEST:
            left = data
            continue
        if not end:
            end, more = data.rfind(b"\n") + 1, False
        if end:
            block, left = Block(data[:end], line, more), data[end:]
        else:
            block, left = Block(data[:_SHOWN] + b"\0\n", line), _behind_line(reads)
        used = yield block
        line += block.lines
        if used is not None:
            back = block.data[used:]
            left, line = back + left, line - back.count(b"\n")


def _reads(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """What the stream holds, without a byte order mark and with line feeds alone."""
    start, left = stream.read(max(size, len(_BOM))).removeprefix(_BOM), b""
    for read in chain([start], iter(partial(stream.read, size), b"")):
        data = left + read
        left = b"\r" if data[-1:] == b"\r" else b""  # its line feed may come
        if data := _fed(data.removesuffix(left)):
            yield data
    if left:
        yield b"\n"


def _behind_line(reads: Iterator[bytes]) -> bytes:
    """What was read behind the next end of a line."""
    for read in reads:
        _, end, behind = read.partition(b"\n")
        if end:
            return behind
    return b""


def _end(data: bytes, quote: bytes) -> int:
    """Where the last whole record ends; 0 if none does."""
    end = data.rfind(b"\n") + 1
    if not quote or not (count(data, quote) - data.count(quote, end)) % 2:
        return end
    tail = end
    while tail > 0:
        before = data.rfind(b"\n", 0, tail - 1) + 1
        if data.count(quote, before, tail) % 2:
            return before
        tail = before
    return 0


def _fed(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data
