"""Constrained decoding: what would break the form of an answer or bring in words of the model's own is forbidden.

Two promises, each held for every row of a batch by itself. *Grounded*: every word of two letters or more that is
written is a word of the prompt, of its data or of its template. That is more than content words only, and needs no
list of function words in any language: the template and the data bring theirs. Numbers are words. *Form*: the answer
is one "NAME: VALUES" line for each name, in order. Where limits against repetition forbid all that is left, they
give way.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Decoding, Piece, Prompt
from trsr.llm.repetition import Limit
from trsr.llm.vocabulary import UNWRITABLE, Shape, Vocabulary, read_vocabulary, unfinished_word
from trsr.llm.words import WORD

_LEAST_ROOM = 4  # tokens of a value


def constrain(
    limit: Limit, prompts: Sequence[Prompt], decoding: Decoding, chat: ChatFormat, stop: Sequence[int]
) -> Limit:
    """`limit`, what a batch keeps to anyway, with the constraints of `decoding` around it.

    Row i continues `prompts[i]` by up to `decoding.max_new_tokens` tokens; `stop` are the tokens that end a row.
    Raises `ConfigError` where that is too little for the form, `ModelError` where the tokenizer cannot be read.
    """
    if not decoding.grounded and not decoding.form:
        return limit
    vocabulary = read_vocabulary(chat.tokenizer)
    form = Form(chat, vocabulary, decoding) if decoding.form else None
    constraints = [Row(prompt, vocabulary, decoding, form, tuple(stop)) for prompt in prompts]

    def allow(rows: Sequence[int], written: Tensor, scores: Tensor) -> Tensor:
        allowed = np.zeros(scores.shape, dtype=np.bool_)
        for row, tokens, mask in zip(rows, written.tolist(), allowed, strict=True):
            constraints[row].mark(tokens, mask)
        forbidden = torch.from_numpy(~allowed).to(scores.device)
        scores.masked_fill_(forbidden, -torch.inf)
        limited = limit(rows, written, scores.clone())
        stuck = limited.amax(dim=1).isneginf()
        limited[stuck] = scores[stuck]
        return limited

    return allow


@dataclass(frozen=True)
class Place:
    """Where the next token goes: after `value`, the tokens of the line so far, with room for `left` more behind it.

    `forced` is set where only one token may come; `ending` are the tokens that may end the value.
    """

    value: Sequence[int] = ()
    left: int = 0
    forced: int | None = None
    ending: Sequence[int] = ()


class Form:
    """The lines of a structured answer as tokens. Every value has the same room, so that all lines always fit."""

    def __init__(self, chat: ChatFormat, vocabulary: Vocabulary, decoding: Decoding) -> None:
        if vocabulary.line_end is None:
            raise ConfigError("this tokenizer has no token for a line end; set summaries.form to text")
        self._names = [chat.encode_piece(Piece(f"{name}:", True)) for name in decoding.form]
        self._line_end = vocabulary.line_end
        fixed = sum(len(name) + 1 for name in self._names)
        self._room = (decoding.max_new_tokens - fixed) // len(self._names)
        if self._room < _LEAST_ROOM:
            least = fixed + _LEAST_ROOM * len(self._names)
            raise ConfigError(
                f"summaries.max_new_tokens {decoding.max_new_tokens}: the {len(self._names)} lines of the structured "
                f"summary need at least {least}; raise it or leave out lines in the template's words.yaml"
            )

    def place(self, written: Sequence[int], stop: Sequence[int]) -> Place:
        """The place behind the tokens `written`."""
        at = 0
        for number, name in enumerate(self._names):
            if len(written) - at < len(name):
                return Place(forced=name[len(written) - at])
            value = written[at + len(name) :]
            ending = stop if number == len(self._names) - 1 else (self._line_end,)
            if self._line_end not in value:
                left = self._room - len(value) - 1
                return Place(value, max(left, 0), ending[0] if left < 0 else None, ending)
            at += len(name) + list(value).index(self._line_end) + 1
        return Place(forced=stop[0])


class Row:
    """The constraints on one prompt of a batch."""

    def __init__(
        self, prompt: Prompt, vocabulary: Vocabulary, decoding: Decoding, form: Form | None, stop: tuple[int, ...]
    ) -> None:
        self._vocabulary, self._form, self._stop = vocabulary, form, stop
        self._max_new_tokens = decoding.max_new_tokens
        pieces = [piece.text for piece in (*prompt.system, *prompt.user)]
        self._start = "" if form else prompt.start
        self._words = GroundedWords((*pieces, prompt.start), vocabulary) if decoding.grounded else None

    def mark(self, written: Sequence[int], mask: NDArray[np.bool_]) -> None:
        """Set `mask` (vocabulary,) true for every token that may come after `written`."""
        if any(token in self._stop for token in written):
            mask[:] = True  # a row that has ended is padded
            return
        place = self._place(written)
        if place.forced is not None:
            mask[place.forced] = True
            return
        vocabulary = self._vocabulary
        begun = vocabulary.holds_word(place.value)
        word = self._unfinished(place.value)
        table = mask[: len(vocabulary.shapes)]
        if self._words is None:
            table |= (vocabulary.wordy | vocabulary.marks) & (vocabulary.whole | (place.left > 0))
        else:
            table[self._words.next_tokens(word, place.left)] = True
        if self._form:
            table &= vocabulary.inline
        if not begun and (place.value or place.left == 0):
            table &= vocabulary.wordy  # marks alone are no value
        if (begun and self._complete(place.value, word)) or not table.any():
            mask[list(place.ending)] = True

    def _place(self, written: Sequence[int]) -> Place:
        if self._form:
            return self._form.place(written, self._stop)
        return Place(written, self._max_new_tokens - len(written) - 1, ending=self._stop)

    def _complete(self, value: Sequence[int], word: bytes) -> bool:
        """Whether the text may end here: with a known word, or else with a whole character."""
        if self._words is None:
            return self._vocabulary.ends_whole(value)
        return not word or word in self._words

    def _unfinished(self, value: Sequence[int]) -> bytes:
        """The letters at the end of the text, back to the last token with something else in it."""
        letters: list[bytes] = []
        for token in reversed(value):
            shape = self._vocabulary.shapes[token]
            if shape is None or shape.closed:
                return unfinished_word((shape.tail if shape else b"") + b"".join(reversed(letters)))
            letters.append(shape.head)
        return unfinished_word(self._start.encode() + b"".join(reversed(letters)))


class GroundedWords:
    """The words of `texts` as they may be written: as they are, in lower case, and with a capital.

    So may each of their letters be, alone: a word is cut by an apostrophe, and what stands behind it must be sayable.
    No token is allowed that leads to a word that cannot be ended in the tokens that are left.
    """

    def __init__(self, texts: Iterable[str], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        found = {word for text in texts for word in WORD.findall(text)}
        letters = {char for word in found for char in word if char.isalpha()}
        forms = {form for word in found | letters for form in _forms(word)}
        self._known = {form.encode("utf-8", "surrogatepass") for form in forms}
        self._sorted = sorted(self._known)
        spellings = (cost for word in self._sorted for cost in vocabulary.spelling(word))
        self._longest = max((cost for cost in spellings if cost < UNWRITABLE), default=0)
        self._cache: dict[tuple[bytes | None, int], NDArray[np.int64]] = {}

    def __contains__(self, word: bytes) -> bool:
        return word in self._known

    def next_tokens(self, word: bytes, left: int) -> NDArray[np.int64]:
        """The tokens that may follow letters `word` (empty between words), with `left` tokens after that one."""
        left = min(left, self._longest)
        going_on = self._cached(word, left, self._going_on)
        if word and word not in self._known:
            return going_on
        return np.concatenate([going_on, self._cached(None, left, self._opening)])

    def _cached(self, word: bytes | None, left: int, find: Callable[[bytes, int], set[int]]) -> NDArray[np.int64]:
        if (word, left) not in self._cache:
            self._cache[word, left] = np.fromiter(find(word or b"", left), dtype=np.int64)
        return self._cache[word, left]

    def _going_on(self, begun: bytes, left: int) -> set[int]:
        """Tokens that write more letters of a word that has begun, and perhaps something behind it."""
        tokens: set[int] = set()
        for rest, costs in self._rests(begun):
            for size in range(1, len(rest) + 1):
                if costs[size] <= left:
                    tokens.update(self._vocabulary.inside.get(rest[:size], ()))
            tokens.update(self._fitting(self._vocabulary.ending.get(rest, ()), left))
        return tokens

    def _opening(self, _: bytes, left: int) -> set[int]:
        """Tokens that put marks or a space first, or hold whole words."""
        tokens = set(np.flatnonzero(self._vocabulary.marks).tolist())
        for word, costs in self._rests(b""):
            for size in range(1, len(word) + 1):
                if costs[size] <= left:
                    tokens.update(self._vocabulary.opening.get(word[:size], ()))
            tokens.update(self._fitting(self._vocabulary.within.get(word, ()), left))
        return tokens

    def _rests(self, begun: bytes) -> Iterable[tuple[bytes, tuple[int, ...]]]:
        """What is left of each known word that begins with `begun`, and how many tokens each end of it takes."""
        low = bisect_left(self._sorted, begun)
        high = bisect_right(self._sorted, begun + b"\xff", lo=low)
        for word in self._sorted[low:high]:
            yield word[len(begun) :], self._vocabulary.spelling(word)[len(begun) :]

    def _fitting(self, tokens: Iterable[int], left: int) -> Iterable[int]:
        for token in tokens:
            shape = self._vocabulary.shapes[token]
            if shape is not None and self._fits(shape, left):
                yield token

    def _fits(self, shape: Shape, left: int) -> bool:
        ends = min((costs[0] for _, costs in self._rests(shape.tail)), default=UNWRITABLE) if shape.tail else 0
        return ends <= left and self._known.issuperset(shape.inner)


def _forms(word: str) -> set[str]:
    """Ways to write one word that are the same word to a caseless reader."""
    forms = {word, word.lower(), word[:1].upper() + word[1:].lower()}
    return {form for form in forms if form.casefold() == word.casefold()}
