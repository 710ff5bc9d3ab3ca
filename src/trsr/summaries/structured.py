"""The structured summary: one "name: values" line for each name of a form, read strictly and written on one line."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import regex

from trsr.llm.words import words
from trsr.prompts.inert import make_inert

BETWEEN = " | "
_DECORATION = r"[\s*_#>•\-]*"  # served models write lists and bold names


class Flaw(StrEnum):
    """What is wrong with the form of a structured summary."""

    MISSING = "missing line"
    UNKNOWN = "unknown line"
    TWICE = "line given twice"
    EMPTY = "empty value"
    TOO_LONG = "over-long value"


def parse(text: str, form: Sequence[str], most_words: int) -> tuple[dict[str, str], tuple[Flaw, ...]]:
    """The values of `text` by their names in `form`, in its order, and each flaw that it has, once.

    `text` is as a model writes it, a line each, or as `render` does. Names are read caseless. A line without a name
    of the form is an unknown line; a value of more than `most_words` words is over-long. The values are whole
    where there is no flaw, and what could be read otherwise.
    """
    names = "|".join(f"({regex.escape(name)})" for name in form)
    named = regex.compile(rf"{_DECORATION}(?:{names}){_DECORATION}:(.*)", regex.I | regex.S)
    values: dict[str, str] = {}
    flaws: set[Flaw] = set()
    for line in text.replace("|", "\n").splitlines():
        found = named.fullmatch(line.strip())
        if found is None:
            flaws |= {Flaw.UNKNOWN} if words(line) else set()
            continue
        *said, value = found.groups()
        name, value = form[next(place for place, name in enumerate(said) if name)], _tidy(value)
        flaws |= {Flaw.TWICE} if name in values else set()
        flaws |= _flaws_of(value, most_words)
        values.setdefault(name, value)
    flaws |= {Flaw.MISSING} if len(values) < len(form) else set()
    return {name: values[name] for name in form if name in values}, tuple(flaw for flaw in Flaw if flaw in flaws)


def render(values: Mapping[str, str]) -> str:
    """The summary on one line, as it goes into prompts."""
    return make_inert(BETWEEN.join(f"{name}: {_tidy(value)}" for name, value in values.items()))


def _flaws_of(value: str, most_words: int) -> set[Flaw]:
    count = len(words(value))
    if not count:
        return {Flaw.EMPTY}
    return {Flaw.TOO_LONG} if count > most_words else set()


def _tidy(value: str) -> str:
    return make_inert(value).replace("|", ",").strip(" *_,;…")
