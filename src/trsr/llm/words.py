"""Words of a text in any script: what groundedness counts, what grounded decoding may write, what is extracted.

A word is a run of letters, marks and digits. Scripts that are written without spaces show no words, so there each
character counts as one. Nothing here knows a language; a list of function words comes from a template set.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache

import regex

SHORTEST_CONTENT_WORD = 3
_STEM = 4
_ENDING = 3
_TEXTS_KEPT = 8192  # items and templates are looked at again and again

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]"
WORD = regex.compile(rf"[{_UNSPACED}]|{LETTER}+", regex.V1)
UNSPACED = regex.compile(rf"[{_UNSPACED}]", regex.V1)


@lru_cache(maxsize=_TEXTS_KEPT)
def words(text: str) -> tuple[str, ...]:
    """The words of `text` in order, caseless."""
    return tuple(found.casefold() for found in WORD.findall(text))


def content_words(text: str, function_words: Collection[str] = ()) -> list[str]:
    """The words of `text` that say something: no function words, and of alphabetic words none below three letters."""
    return [word for word in words(text) if _has_content(word) and word not in function_words]


def stems(word: str) -> list[str]:
    """The word with none to three letters taken off its end, as far as four are left.

    Two words that share one of these differ in their endings only: a light stemmer for languages with suffixes.
    """
    return [word[:size] for size in range(max(min(len(word), _STEM), len(word) - _ENDING), len(word) + 1)]


def all_stems(texts: Iterable[str]) -> set[str]:
    """The stems of all words of `texts`."""
    return set().union(*map(_stems_of, texts))


@lru_cache(maxsize=_TEXTS_KEPT)
def _stems_of(text: str) -> frozenset[str]:
    return frozenset(stem for word in words(text) for stem in stems(word))


def _has_content(word: str) -> bool:
    numeric = any(char.isnumeric() for char in word)
    return len(word) >= SHORTEST_CONTENT_WORD or numeric or UNSPACED.match(word) is not None
