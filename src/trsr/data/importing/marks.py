"""Where the rows of delimited text begin and how many fields they have, by sets of places with one bit a byte.

A set of places is an array of words of 64 bits, the lowest bit for the first byte; so what holds for all places at once
costs an operation a word, and only rows and quotes have a number each.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_WORD = np.dtype("<u8")
_STEP = 2**17  # bytes looked at together, few enough to stay in the processor's cache
_ONE, _TOP = np.uint64(1), np.uint64(63)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Where rows begin, in lines from 0, and how many separators each has outside of quotes.

    `blank_quoted`: there may be a field of two quotes alone.
    """

    lines: Ints
    separators: Ints
    blank_quoted: bool = False


def rows_of(data: bytes, separator: str, quoted: bool = True) -> Rows | None:
    """The rows of a text that ends with a line feed; None where quotes do not stand around whole fields.

    Quotes open and close in turn, and a pair within a field closes it and opens it again. Polars takes others too, and
    some of them away.
    """
    characters = np.frombuffer(data, dtype=np.uint8)
    parts, lines = _places(characters, ord(separator)), _places(characters, ord("\n"))
    if not quoted:
        return _counted(parts, lines, lines)
    quotes = _places(characters, ord('"'))
    inside = _inside(quotes)
    if inside[-1] >> _TOP:
        return None
    opening, closing, bare = quotes & inside, quotes & ~inside, parts | lines
    begins = opening & _behind(bare)
    fences = bare | quotes
    if (opening & ~_behind(fences)).any() or (closing & ~_before(fences)).any():
        return None
    blank = bool((begins & _before(closing & _before(bare))).any())
    return _counted(parts & ~inside, lines & ~inside, lines, blank)


def count(data: bytes, character: bytes) -> int:
    """How often a character of one byte is there."""
    characters, wanted = np.frombuffer(data, dtype=np.uint8), ord(character)
    return sum(
        int(np.count_nonzero(characters[begin : begin + _STEP] == wanted)) for begin in range(0, len(data), _STEP)
    )


def _places(characters: npt.NDArray[np.uint8], wanted: int) -> Bits:
    """Where a character stands; there is at least one bit more than there are characters."""
    places = np.zeros(characters.size // 64 + 1, dtype=_WORD)
    octets = places.view(np.uint8)
    for begin in range(0, characters.size, _STEP):
        found = np.packbits(characters[begin : begin + _STEP] == wanted, bitorder="little")
        octets[begin // 8 : begin // 8 + found.size] = found
    return places


def _inside(quotes: Bits) -> Bits:
    """Where the number of quotes up to a place, it included, is odd."""
    odd = quotes.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    before = np.bitwise_xor.accumulate(odd >> _TOP)
    odd[1:] ^= np.negative(before[:-1])  # all bits of a word, or none
    return odd


def _behind(places: Bits) -> Bits:
    """The places that follow some; the first of all is taken to be one."""
    moved = places << _ONE
    moved[1:] |= places[:-1] >> _TOP
    moved[0] |= _ONE
    return moved


def _before(places: Bits) -> Bits:
    """The places that some follow."""
    moved = places >> _ONE
    moved[:-1] |= places[1:] << _TOP
    return moved


def _counted(parts: Bits, ends: Bits, lines: Bits, blank: bool = False) -> Rows:
    at = _numbers(ends)
    separators = np.diff(_ranks(parts, at), prepend=0)
    begins = np.concatenate([np.zeros(1, np.int64), _ranks(lines, at)[:-1] + 1])
    return Rows(begins, separators, blank)


def _numbers(places: Bits) -> Ints:
    """Places as numbers, in order."""
    octets = places.view(np.uint8)
    some = np.flatnonzero(octets != 0)  # several times as fast as of numbers
    bits = np.flatnonzero(np.unpackbits(octets[some], bitorder="little") != 0)
    numbers: Ints = some[bits >> 3] * 8 + (bits & 7)
    return numbers


def _ranks(places: Bits, at: Ints) -> Ints:
    """How many places there are before each of some numbers."""
    counts = np.bitwise_count(places)
    before = np.cumsum(counts, dtype=np.int64) - counts
    words, bits = at >> 6, (at & 63).astype(np.uint64)
    lower = places[words] & ((_ONE << bits) - _ONE)
    ranks: Ints = before[words] + np.bitwise_count(lower)
    return ranks
