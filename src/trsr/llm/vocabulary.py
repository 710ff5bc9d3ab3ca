"""What each token of a tokenizer writes, and where words begin and end in it.

Constrained decoding works on this table: it forbids tokens, and has to know what a token would do to the text.
Tokens are bytes here, because byte-level tokenizers cut letters apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import regex

from trsr.errors import ModelError
from trsr.llm.words import LETTER, UNSPACED, WORD

UNWRITABLE = 1 << 20  # tokens; more than any text has
_SAMPLE = "a plain line"
_RESERVED = frozenset(b"\n\r|")
_MOST_MARKS = 3  # of one token: no rulers, no indentation
_SPELLED_OUT = regex.compile("<0x[0-9A-F]{2}>")
_MARKS = regex.compile(r"[\s\p{P}\p{Sc}\p{Sm}]*")
# a byte that is not a whole character by itself is decoded to one of the surrogates U+DC80 to U+DCFF
_RUN = regex.compile(rf"{UNSPACED.pattern}|(?:{LETTER}|[\uDC80-\uDCFF])+", regex.V1)


@dataclass(frozen=True)
class Shape:
    """A token as words: it goes on with the word before it by `head`, and leaves `tail` to be gone on with.

    Between the two lie whole words, `inner`. A token that is not `closed` is all head.
    """

    head: bytes
    closed: bool
    inner: tuple[bytes, ...]
    tail: bytes


class Vocabulary:
    """The tokens of one tokenizer by id, and by what they do to words.

    `shapes` holds None for control tokens and for tokens no summary needs. `inside` maps a stretch of a word to the
    tokens that are that and no more; `opening` maps the start of a word to tokens that put marks or a space before
    it; `within` maps a first whole word to tokens that hold several, `ending` the end of a word to tokens that go on
    behind it. `marks`, `wordy`, `inline`, `whole` (id,) tell tokens of marks alone, with letters, without a line end
    or bar, and those that are decoded to the same text whatever stands beside them.
    Raises `ModelError` for a tokenizer that cannot be read this way.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._texts, spelled_out = _token_texts(tokenizer)
        texts = self._texts
        self.line_end = next((token for token, text in enumerate(texts) if text == b"\n"), None)
        self.shapes = [None if text is None else _shape(text) for text in texts]
        self.inside: dict[bytes, list[int]] = {}
        self.opening: dict[bytes, list[int]] = {}
        self.within: dict[bytes, list[int]] = {}
        self.ending: dict[bytes, list[int]] = {}
        self.marks, self.wordy, self.inline, self.whole = np.zeros((4, len(texts)), dtype=np.bool_)
        for token, (text, shape) in enumerate(zip(texts, self.shapes, strict=True)):
            if text is not None and shape is not None:
                self._sort_in(token, shape)
                self.inline[token] = not _RESERVED & set(text)
                self.whole[token] = _is_whole(text) and token not in spelled_out
        self.spelling = lru_cache(maxsize=65536)(self._spelling)

    def ends_whole(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` ends with a whole character, and not with parts that make none."""
        parts: list[bytes] = []
        for token in reversed(tokens):
            if self.whole[token]:
                break
            parts.append(self._texts[token] or b"")
        return _is_whole(b"".join(reversed(parts)))

    def holds_word(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` has a letter or digit; parts of a character are none."""
        text = b"".join(self._texts[token] or b"" for token in tokens)
        return WORD.search(text.decode("utf-8", "ignore")) is not None

    def _sort_in(self, token: int, shape: Shape) -> None:
        self.wordy[token] = bool(shape.head or shape.inner or shape.tail)
        self.marks[token] = not self.wordy[token]
        if not shape.closed:
            self.inside.setdefault(shape.head, []).append(token)
        elif shape.head:
            self.ending.setdefault(shape.head, []).append(token)
        elif shape.inner:
            self.within.setdefault(shape.inner[0], []).append(token)
        elif shape.tail:
            self.opening.setdefault(shape.tail, []).append(token)

    def _spelling(self, word: bytes) -> tuple[int, ...]:
        """For each place in `word` (and its end), the fewest tokens that write the rest of it."""
        costs = [UNWRITABLE] * len(word) + [0]
        for start in reversed(range(len(word))):
            reached = (costs[end] for end in range(start + 1, len(word) + 1) if word[start:end] in self.inside)
            costs[start] = min(min(reached, default=UNWRITABLE) + 1, UNWRITABLE)
        return tuple(costs)


@lru_cache(maxsize=4)
def read_vocabulary(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a tokenizer, read once."""
    return Vocabulary(tokenizer)


def unfinished_word(text: bytes) -> bytes:
    """The letters at the end of `text` that more letters would go on with."""
    runs = [found for found in _RUN.finditer(_decode(text)) if found.end() == len(found.string)]
    return _encode(runs[0].group()) if runs and not UNSPACED.match(runs[0].group()) else b""


def _shape(text: bytes) -> Shape | None:
    decoded = _decode(text)
    rest = _RUN.sub("", decoded)
    if not decoded or len(rest) > _MOST_MARKS or not _MARKS.fullmatch(rest):
        return None
    runs = list(_RUN.finditer(decoded))
    open_ended = [run for run in runs if not UNSPACED.match(run.group())]
    head = next((run for run in open_ended if run.start() == 0), None)
    if head is not None and head.end() == len(decoded):
        return Shape(text, False, (), b"")
    tail = next((run for run in open_ended if run.end() == len(decoded)), None)
    inner = tuple(_encode(run.group()) for run in runs if run is not head and run is not tail)
    return Shape(*(_encode(head.group()) if head else b"", True, inner, _encode(tail.group()) if tail else b""))


def _is_whole(text: bytes) -> bool:
    return _encode(text.decode("utf-8", "replace")) == text


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def can_be_read(tokenizer: Any) -> bool:
    """Whether the tokens of a tokenizer can be told as text, so that decoding can be constrained."""
    return _reading(tokenizer) is not None


def _token_texts(tokenizer: Any) -> tuple[list[bytes | None], set[int]]:
    """The bytes of every token, None for control tokens, and the tokens that spell out one byte."""
    read = _reading(tokenizer)
    if read is None:
        raise ModelError(
            f"{type(tokenizer).__name__}: its tokens cannot be read as text, so decoding cannot be constrained; "
            "set summaries.grounded to false and summaries.form to text"
        )
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    control = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    texts = [None if name is None or token in control else read(str(name)) for token, name in enumerate(names)]
    return texts, {token for token, name in enumerate(names) if _SPELLED_OUT.fullmatch(str(name))}


def _reading(tokenizer: Any) -> Callable[[str], bytes | None] | None:
    """Of two ways to read tokens the one that gives back a sample text."""
    sample = tokenizer.convert_ids_to_tokens(tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"])
    readings: tuple[Callable[[str], bytes | None], ...] = (_read_byte_level, _read_pieces)
    for read in readings:
        if b"".join(read(name) or b"" for name in sample).strip() == _SAMPLE.encode():
            return read
    return None


def _read_byte_level(name: str) -> bytes | None:
    table = _byte_table()
    return bytes(table[char] for char in name) if all(char in table for char in name) else None


def _read_pieces(name: str) -> bytes | None:
    """A SentencePiece token: a low line block for a space, and bytes spelled out."""
    if _SPELLED_OUT.fullmatch(name):
        return bytes([int(name[3:5], 16)])
    return name.replace("▁", " ").encode()


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """How byte-level tokenizers show bytes: printable Latin-1 as itself, the others from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}
