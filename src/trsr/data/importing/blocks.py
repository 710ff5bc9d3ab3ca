"""A file in blocks of whole records, so that a file of any size is read in the memory of a few blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

SIZE = 32 * 2**20
LONGEST = 64 * 2**20
"""A line with more bytes than this is no line of text; the file is read on behind it."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each ended by a line feed; `line` is the number of the first, from 1."""

    data: bytes
    line: int

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return self.data.count(b"\n")


def blocks(stream: IO[bytes], quote: bytes = b"", size: int = SIZE) -> Iterator[Block]:
    """The blocks of a stream, without a byte order mark, with line feeds alone for the ends of lines.

    With `quote`, no block ends between two of them, so that a line feed inside a quoted field parts no record; where
    a quote stands open for a whole block, the block ends at its last line all the same.
    """
    line, left, first = 1, b"", True
    while True:
        read = stream.read(size)
        if first:
            read, first = read.removeprefix(_BOM), False
        data = left + read
        if not read:
            if data:
                yield Block(_fed(data if data.endswith(b"\n") else data + b"\n"), line)
            return
        end = _end(data, quote)
        if not end:
            if len(data) < LONGEST:
                left = data
                continue
            end = len(data)
        block = Block(_fed(data[:end] if data[end - 1 : end] == b"\n" else data[:end] + b"\n"), line)
        yield block
        line += block.lines
        left = data[end:]


def _end(data: bytes, quote: bytes) -> int:
    """Where the last whole record ends; 0 if none does."""
    end = data.rfind(b"\n") + 1
    if not quote or not data.count(quote, 0, end) % 2:
        return end
    tail = end
    while tail > 0:
        before = data.rfind(b"\n", 0, tail - 1) + 1
        if data.count(quote, before, tail) % 2:
            return before or end
        tail = before
    return end


def _fed(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r\n" in data else data
