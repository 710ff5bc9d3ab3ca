"""What changed from one text to the next, word by word, without regard to case and punctuation."""

import difflib
import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal

Change = Literal["same", "added", "removed"]


def word_diff(before: str, after: str) -> list[tuple[str, Change]]:
    """Runs of words that are in both texts (as `after` writes them), in `after` only, or in `before` only."""
    old, new = before.split(), after.split()
    runs: list[tuple[str, Change]] = []
    for tag, first_old, end_old, first_new, end_new in _opcodes(old, new):
        if tag == "equal":
            runs.append((" ".join(new[first_new:end_new]), "same"))
            continue
        runs += [(" ".join(old[first_old:end_old]), "removed")] if end_old > first_old else []
        runs += [(" ".join(new[first_new:end_new]), "added")] if end_new > first_new else []
    return runs


def added_words(before: str, after: str) -> list[tuple[str, bool]]:
    """All of `after`, white space too, cut into (text, is it new) segments."""
    pieces = re.split(r"(\S+)", after)
    new = [bool(index % 2) for index in range(len(pieces))]
    for tag, _, _, start, end in _opcodes(before.split(), pieces[1::2]):
        if tag == "equal":
            new[2 * start + 1 : 2 * end + 1] = [False] * (2 * (end - start))
    for gap in range(2, len(pieces) - 1, 2):
        new[gap] = new[gap - 1] and new[gap + 1]
    runs = groupby(zip(pieces, new, strict=True), key=itemgetter(1))
    segments = [("".join(piece for piece, _ in run), is_new) for is_new, run in runs]
    return [segment for segment in segments if segment[0]]


def _opcodes(before: Sequence[str], after: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    old, new = [_bare(word) for word in before], [_bare(word) for word in after]
    return difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def _bare(word: str) -> str:
    return word.casefold().strip(".,;:!?()[]\"'") or word
