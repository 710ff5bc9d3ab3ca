"""Summaries without a language model: the terms that a user's items have more often than the catalogue.

A term is a value of a short attribute (a subject, a brand, an author) or a content word. It counts by how large a
share of the user's items have it, recent ones more, times the log of how much larger that is than its share of the
catalogue: TF-IDF with items for occurrences, or the term's part of the divergence between the two. Nothing here
knows a language; function words come from the template set. This is a few lines of numpy on purpose: the summariser
stands in for a failed LLM call, so it must be there in every installation, and scikit-learn would be a large guest.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import regex
from numpy.typing import NDArray

from trsr.llm.words import content_words, words
from trsr.prompts.inert import make_inert
from trsr.prompts.templates import TemplateSet
from trsr.summaries.structured import render

HALF_LIFE = 10.0  # items
RECENT = 4  # items
COMMON_SHARE = 0.4  # of the catalogue; a term above that tells nobody's taste
_VALUE_WORDS = 4
_BETWEEN_VALUES = regex.compile(r"[,;|/、，；]")


class Extractive:
    """Summarises histories over one catalogue, deterministically and in well under a millisecond each.

    `items` maps item ids to attribute values, `attributes` names those used. `form` as in `SummaryConfig`; `terms` is
    how many terms a text has, or the first line of a structured summary; the other lines have half as many.
    """

    def __init__(
        self,
        items: Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str],
        templates: TemplateSet,
        form: Literal["text", "structured"] = "text",
        terms: int = 12,
    ) -> None:
        self._form = templates.form if form == "structured" else {}
        self._start = templates.text("summary_start").strip()
        self._unknown = templates.words["unknown"]
        self._terms = terms
        self._function_words = templates.function_words
        self._measures = _measures(items, attributes, templates.form.get("measure", ""))
        self._read(items, attributes)

    def summary(self, history: Sequence[str]) -> str:
        """The summary of items, oldest first; empty where the history is or none of its items shares a term."""
        if not history:
            return ""
        ages = np.arange(len(history) - 1, -1, -1)
        ranked = self._ranked(history, np.exp2(-ages / HALF_LIFE))
        if not self._form:
            chosen = self._choose(ranked, self._terms)
            return make_inert(f"{self._start} {', '.join(chosen)}.") if chosen else ""
        recent = self._ranked(history[-RECENT:], np.ones(len(history[-RECENT:])), self._shares(history[:-RECENT]))
        topics = self._choose((term for term in ranked if self._is_value[term]), self._terms // 2)
        lines = {
            "likes": self._choose(ranked, self._terms, without=topics if "topics" in self._form else ()),
            "topics": topics,
            "measure": self._measure(history),
            "change": self._choose(recent, self._terms // 2) if len(history) > RECENT else [],
        }
        return render({name: ", ".join(lines.get(line, ())) or self._unknown for line, name in self._form.items()})

    def _read(self, items: Mapping[str, Mapping[str, Any]], attributes: Sequence[str]) -> None:
        """Number the terms that two items have but not too many, and note those of every item."""
        seen: Counter[str] = Counter()
        shown: dict[str, str] = {}
        values: set[str] = set()
        rows: dict[str, set[str]] = {}
        for item, row in items.items():
            found = dict(self._terms_of(row, attributes))
            for term, (text, is_value) in found.items():
                if term not in shown or text.islower():
                    shown[term] = text
                if is_value:
                    values.add(term)
            seen.update(found.keys())
            rows[item] = set(found)
        kept = [term for term, count in seen.items() if 2 <= count <= max(2, COMMON_SHARE * len(items))]
        numbers = {term: number for number, term in enumerate(kept)}
        self._shown = [shown[term] for term in kept]
        self._words = [frozenset(words(term)) for term in kept]
        self._is_value = [term in values for term in kept]
        self._share = np.array([seen[term] for term in kept]) / max(len(items), 1)
        self._of_item = {
            item: np.array(sorted(numbers[term] for term in found if term in numbers), dtype=np.int64)
            for item, found in rows.items()
        }

    def _terms_of(self, row: Mapping[str, Any], attributes: Sequence[str]) -> Iterator[tuple[str, tuple[str, bool]]]:
        """The terms of an item, caseless, each as it is written and whether it is a value; words before values."""
        for attribute in attributes:
            for text in _texts(row[attribute]):
                for word in content_words(text, self._function_words):
                    yield word, (word, False)
        for attribute in attributes:
            for text in _texts(row[attribute]):
                parts = [" ".join(part.split()) for part in _BETWEEN_VALUES.split(text)]
                if all(len(words(part)) <= _VALUE_WORDS for part in parts):
                    yield from ((part.casefold(), (part, True)) for part in parts if content_words(part))

    def _ranked(
        self, history: Sequence[str], weights: NDArray[np.float64], before: NDArray[np.float64] | None = None
    ) -> list[int]:
        """Terms of the items by how much they tell, best first; what tells nothing is left out.

        `before` (terms,), shares in earlier items, is what a term is held against besides the catalogue.
        """
        found = [self._of_item[item] for item in history]
        terms, place = np.unique(np.concatenate(found), return_inverse=True)
        each = np.repeat(weights / weights.sum(), [len(entry) for entry in found])
        share, heaviest = np.zeros((2, len(terms)))
        np.add.at(share, place, each)
        np.maximum.at(heaviest, place, each)
        usual = self._share[terms] if before is None else np.maximum(self._share[terms], before[terms])
        unusual = np.log(share / usual)
        telling = (share - heaviest) * unusual  # one item is no taste yet
        if not (telling > 0).any():
            telling = share * unusual
        best = np.argsort(-telling, kind="stable")
        return [int(terms[place]) for place in best if telling[place] > 0]

    def _shares(self, history: Sequence[str]) -> NDArray[np.float64]:
        """The share (terms,) of the items that have each term."""
        counts = np.zeros(len(self._share))
        for item in history:
            counts[self._of_item[item]] += 1
        return counts / max(len(history), 1)

    def _choose(self, ranked: Sequence[int] | Iterator[int], count: int, without: Sequence[str] = ()) -> list[str]:
        """The first `count` terms as they are written, none whose words others before it have all said."""
        said = {word for text in without for word in words(text)}
        chosen: list[str] = []
        for term in ranked:
            if len(chosen) == count:
                break
            if not self._words[term] <= said:
                chosen.append(self._shown[term])
                said |= self._words[term]
        return chosen

    def _measure(self, history: Sequence[str]) -> list[str]:
        values = [self._measures[item] for item in history if item in self._measures]
        return [f"{float(np.median(values)):g}"] if values else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [entry for entry in value if isinstance(entry, str)]
    return [value] if isinstance(value, str) else []


def _measures(items: Mapping[str, Mapping[str, Any]], attributes: Sequence[str], name: str) -> dict[str, float]:
    """Each item's number under the attribute called as the template's line is, or else under the first with numbers."""
    for attribute in sorted(attributes, key=lambda attribute: attribute.casefold() != name.casefold()):
        numbers = {item: row[attribute] for item, row in items.items() if isinstance(row[attribute], int | float)}
        if numbers:
            return {item: float(number) for item, number in numbers.items()}
    return {}
