"""What is wrong with a summary, and how much of it is grounded in what it was made from.

Everything here counts words and knows no language; function words and phrases of refusal come from the template set.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import regex

from trsr.config import SummaryConfig
from trsr.llm.protocol import Decoding, Generation, Prompt
from trsr.llm.words import all_stems, content_words, stems, words
from trsr.prompts.templates import TemplateSet
from trsr.summaries.structured import Flaw, parse, render

ECHO_RUN = 8  # words; item titles and subjects are shorter
ECHO_SHARE = 0.5
REPEATED_SHARE = 0.35
LEAST_DISTINCT = 0.4
_JUDGED_FROM = 8  # words; a shorter text may well say a thing twice
_REFUSED_WITHIN = 8
_CHARACTERS_PER_TOKEN = 8
_RETRY_TEMPERATURE = 0.7
_RETRY_PENALTY = 0.2  # added to that of the first time
_RETRY_NGRAM = 3
_SENTENCE_END = regex.compile(r"[\p{Sentence_Terminal}…][\p{Pe}\p{Pf}\"'’]*(?=\s|$)|[。！？]")


class Fault(StrEnum):
    """Why a summary is not taken as it is."""

    EMPTY = "empty"
    REFUSAL = "refusal"
    ECHO = "echo"
    RUNAWAY = "runaway"
    REPETITION = "repetition"
    TOO_LONG = "too long"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Examined:
    """A summary as it is kept, and its faults; with faults it is not to be kept."""

    text: str
    faults: tuple[Fault, ...]


def faults(
    text: str,
    inputs: Sequence[str],
    allowed: str,
    limit: int,
    cut: bool = False,
    refusals: Sequence[str] = (),
) -> tuple[Fault, ...]:
    """The faults of free text that a model wrote about `inputs` when told `allowed`, in the order of `Fault`.

    `limit` is in characters; `cut` says that the model was stopped by the token limit, which is a fault where no
    sentence ends there. An echo has at least half of its words in runs of eight that an input or `allowed` has too.
    """
    found = words(text)
    present = {
        Fault.EMPTY: not content_words(text),
        Fault.REFUSAL: _refuses(found, refusals),
        Fault.ECHO: any(_shared(found, words(source)) >= ECHO_SHARE for source in (*inputs, allowed)),
        Fault.RUNAWAY: cut and _last_sentence_end(text) < len(text.rstrip()),
        Fault.REPETITION: _repeats(found),
        Fault.TOO_LONG: len(text) > limit,
    }
    return tuple(fault for fault, is_there in present.items() if is_there)


def groundedness(
    text: str, inputs: Iterable[str], template_text: str, function_words: Collection[str] = frozenset()
) -> float:
    """The share of the content words of `text` that `inputs` or the template support; 1 where it has none.

    A word is supported by a word that differs from it in its ending only. `function_words` are not counted.
    """
    counted = content_words(text, function_words)
    support = all_stems((*inputs, template_text))
    return sum(not support.isdisjoint(stems(word)) for word in counted) / len(counted) if counted else 1.0


def other_decoding(decoding: Decoding, samples: bool) -> Decoding:
    """How a call is made a second time, so that it leaves the way that led to the fault.

    A backend that `samples` draws; one that is greedy only is held to stricter limits against repetition.
    """
    if samples:
        return replace(decoding, temperature=_RETRY_TEMPERATURE, seed=decoding.seed + 1)
    ngram = min(decoding.no_repeat_ngram or _RETRY_NGRAM, _RETRY_NGRAM)
    return replace(decoding, repetition_penalty=decoding.repetition_penalty + _RETRY_PENALTY, no_repeat_ngram=ngram)


class Quality:
    """Examines what one summariser writes; a pure function of prompt and text.

    `finish` makes a summary of what the model wrote (`SummarizingPrompts.finish`).
    """

    def __init__(self, templates: TemplateSet, config: SummaryConfig, finish: Callable[[str], str]) -> None:
        self._config, self._finish = config, finish
        self._structured = config.form == "structured"
        self._form = tuple(templates.form.values())
        self._refusals, self._function_words = templates.refusals, templates.function_words
        self._start = "" if self._structured else templates.text("summary_start").strip()
        self._opening = f"{self._form[0]}:" if self._structured else self._start
        self._own_text = " ".join([self._start, templates.words["unknown"], *self._form])
        self._most_words = config.max_new_tokens // len(self._form)

    def examine(self, prompt: Prompt, generation: Generation) -> Examined:
        """The summary that `generation` makes, with the faults that it has as an answer to `prompt`.

        Where the token limit cut it, free text ends with its last whole sentence. Summaries among the data of
        `prompt` may be repeated, items may not.
        """
        data = [piece.text for piece in prompt.user if not piece.trusted]
        items = [text for text in data if not text.startswith(self._opening)]
        told = " ".join(piece.text for piece in (*prompt.system, *prompt.user) if piece.trusted)
        limit = _CHARACTERS_PER_TOKEN * self._config.max_new_tokens
        cut = generation.tokens_out >= self._config.max_new_tokens
        if self._structured:
            return self._examine_form(generation.text, items, told, limit)
        text = _whole_sentences(generation.text) if cut else generation.text
        return Examined(self._finish(text), faults(text, items, told, limit, cut, self._refusals))

    def groundedness(self, summary: str, items: Iterable[str]) -> float:
        """How much of a summary the texts of its items support; the start that the template gave is not counted."""
        return groundedness(summary.removeprefix(self._start), items, self._own_text, self._function_words)

    def _examine_form(self, text: str, items: Sequence[str], told: str, limit: int) -> Examined:
        values, flaws = parse(text, self._form, self._most_words)
        found = faults(", ".join(values.values()), items, told, limit, refusals=self._refusals)
        malformed = (Fault.MALFORMED,) if set(flaws) - {Flaw.TOO_LONG} else ()
        too_long = (Fault.TOO_LONG,) if Flaw.TOO_LONG in flaws and Fault.TOO_LONG not in found else ()
        return Examined(self._finish(text) if malformed else render(values), (*found, *too_long, *malformed))


def _refuses(found: Sequence[str], refusals: Sequence[str]) -> bool:
    """Whether one of the phrases stands near the beginning."""
    head = f" {' '.join(found[:_REFUSED_WITHIN])} "
    return any(f" {' '.join(words(phrase))} " in head for phrase in refusals)


def _shared(found: Sequence[str], source: Sequence[str]) -> float:
    """The share of the words `found` that stand in runs of `ECHO_RUN` words which `source` has too."""
    runs = {tuple(source[at : at + ECHO_RUN]) for at in range(len(source) - ECHO_RUN + 1)}
    covered = {
        place
        for at in range(len(found) - ECHO_RUN + 1)
        if tuple(found[at : at + ECHO_RUN]) in runs
        for place in range(at, at + ECHO_RUN)
    }
    return len(covered) / max(len(found), 1)


def _repeats(found: Sequence[str]) -> bool:
    """Whether the text turns in a circle: many runs of three words came before, or few words are new."""
    if len(found) < _JUDGED_FROM:
        return len(found) > 2 and len(set(found)) == 1
    runs = [tuple(found[at : at + 3]) for at in range(len(found) - 2)]
    repeated = 1 - len(set(runs)) / len(runs)
    return repeated > REPEATED_SHARE or len(set(found)) < LEAST_DISTINCT * len(found)


def _whole_sentences(text: str) -> str:
    """`text` up to its last whole sentence, all of it where there is none."""
    return text[: _last_sentence_end(text) or len(text)]


def _last_sentence_end(text: str) -> int:
    return max((found.end() for found in _SENTENCE_END.finditer(text.rstrip())), default=0)
