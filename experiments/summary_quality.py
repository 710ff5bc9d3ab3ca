"""How much of the bookshop readers' true taste each kind of summary holds: python experiments/summary_quality.py."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trsr.config import BookshopConfig, SummaryConfig
from trsr.data.bookshop import Bookshop, make_bookshop
from trsr.data.bookshop.catalogue import read_lexicon
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding
from trsr.llm.weights import EMBEDDED, load_model, load_tokenizer, resolve_weights
from trsr.llm.words import all_stems, content_words, stems
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.extractive import Extractive
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.quality import Quality
from trsr.summaries.recurrent import recurrent
from trsr.summaries.segments import segment_by_count

ATTRIBUTES = ["title", "author", "subjects", "description"]
PLANS = {"recurrent": recurrent, "hierarchical": hierarchical}
WAYS = [  # form, grounded, plan; the two last ones show whether the plan matters
    ("text", False, "recurrent"),
    ("text", True, "recurrent"),
    ("structured", False, "recurrent"),
    ("structured", True, "recurrent"),
    ("text", True, "hierarchical"),
    ("structured", True, "hierarchical"),
]


COLUMNS = ["recall", "precision", "top two", "passing", "mood", "grounded", "faulty", "words", "calls", "seconds"]


@dataclass(frozen=True)
class Reader:
    """A reader's history but for the last event, and the taste behind it."""

    history: list[str]
    lasting: list[str]
    passed: set[str]
    passing: str
    mood: str


class Signs:
    """The words by which a text shows each theme or mood, none that two of them share."""

    def __init__(self, phrases: Mapping[str, Sequence[str]]):
        by_name = {
            name: all_stems(word for phrase in group for word in content_words(phrase))
            for name, group in phrases.items()
        }
        shared = Counter(stem for found in by_name.values() for stem in found)
        self.by_name = {name: {stem for stem in found if shared[stem] == 1} for name, found in by_name.items()}

    def count(self, text: str) -> dict[str, int]:
        found = set(content_words(text))
        return {name: sum(not own.isdisjoint(stems(word)) for word in found) for name, own in self.by_name.items()}


@dataclass
class Written:
    summaries: list[str]
    faults: Counter
    calls: int
    seconds: float


def read_readers(shop: Bookshop, count: int) -> list[Reader]:
    histories = shop.interactions.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    truths = shop.reader_truth.partition_by("user_id", maintain_order=True)
    readers = []
    for history, truth in list(zip(histories, truths, strict=True))[:count]:
        last = truth.row(len(history) - 2, named=True)
        passed = set(truth["passing"].to_list()[:-1])
        readers.append(Reader(history[:-1], last["lasting"], passed, last["passing"], last["mood"]))
    return readers


def expected_hits(counts: Mapping[str, float], wanted: Iterable[str], places: int) -> float:
    """The share of `wanted` among the `places` highest counts, on average over the orders of ties."""
    ranked = sorted(counts.values(), reverse=True)
    edge = ranked[places - 1]
    above = sum(value > edge for value in ranked)
    chance = (places - above) / ranked.count(edge)
    hits = [1.0 if counts[name] > edge else chance if counts[name] == edge else 0.0 for name in wanted]
    return sum(hits) / len(hits)


def write_with_llm(generator, prompts, quality, method, readers, config, form) -> Written:
    decoding = Decoding(
        config.max_new_tokens,
        config.repetition_penalty,
        config.no_repeat_ngram,
        grounded=config.grounded,
        form=form,
    )
    plans = {
        number: PLANS[method](segment_by_count(reader.history, config.block_size), prompts)
        for number, reader in enumerate(readers)
    }
    waiting = {number: next(plan) for number, plan in plans.items()}
    done, faults, calls, started = {}, Counter(), 0, time.perf_counter()
    while waiting:
        asked = [
            (f"{number}/{place}", request.prompt)
            for number, wave in waiting.items()
            for place, request in enumerate(wave.requests)
        ]
        calls += len(asked)
        answers = {}
        for batch in segment_by_count(sorted(asked, key=lambda call: len(str(call[1]))), generator.slots):
            generator.submit([Call(key, prompt, decoding) for key, prompt in batch])
            for key, generation in generator.collect():
                examined = quality.examine(dict(batch)[key], generation)
                faults.update(examined.faults)
                faults["any"] += bool(examined.faults)
                answers[key] = examined.text
        for number, wave in list(waiting.items()):
            written = [answers[f"{number}/{place}"] for place in range(len(wave.requests))]
            try:
                waiting[number] = plans[number].send(written)
            except StopIteration as end:
                done[number] = end.value
                del waiting[number]
    summaries = [done[number] for number in range(len(readers))]
    return Written(summaries, faults, calls, time.perf_counter() - started)


def measure(texts: Sequence[str], readers: Sequence[Reader], themes: Signs, moods: Signs) -> dict[str, float]:
    named_right = named = 0
    rows = []
    for text, reader in zip(texts, readers, strict=True):
        counts, mood_counts = themes.count(text), moods.count(text)
        mentioned = {name for name, count in counts.items() if count}
        named += len(mentioned)
        named_right += len(mentioned & {*reader.lasting, *reader.passed})
        rows.append(
            (
                np.mean([theme in mentioned for theme in reader.lasting]),
                expected_hits(counts, reader.lasting, 2),
                reader.passing in mentioned,
                expected_hits(mood_counts, [reader.mood], 1),
                len(text.split()),
            )
        )
    recall, top_two, passing, mood, length = np.mean(rows, axis=0)
    return {
        "recall": float(recall),
        "precision": named_right / max(named, 1),
        "top two": float(top_two),
        "passing": float(passing),
        "mood": float(mood),
        "words": float(length),
    }


def ceiling(readers: Sequence[Reader], item_texts: Mapping[str, str], themes: Signs, moods: Signs) -> dict[str, float]:
    """What counting the signs in every item of the history gives."""
    rows = []
    for reader in readers:
        counts, mood_counts = Counter(dict.fromkeys(themes.by_name, 0)), Counter(dict.fromkeys(moods.by_name, 0))
        for item in reader.history:
            counts.update(themes.count(item_texts[item]))
            mood_counts.update(moods.count(item_texts[item]))
        rows.append((expected_hits(counts, reader.lasting, 2), expected_hits(mood_counts, [reader.mood], 1)))
    top_two, mood = np.mean(rows, axis=0)
    return {"top two": float(top_two), "mood": float(mood)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=60)
    parser.add_argument("--ways", type=int, nargs="*", default=range(len(WAYS)), help="which of the LLM's ways to run")
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--template", default="books")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="print so many summaries of each kind")
    options = parser.parse_args()
    shop, lexicon, templates = make_bookshop(BookshopConfig()), read_lexicon(), TemplateSet(options.template)
    readers = read_readers(shop, options.readers)
    items = {row["item_id"]: row for row in shop.items.iter_rows(named=True)}
    texts = {item: " ".join(str(row[name] or "") for name in ATTRIBUTES) for item, row in items.items()}
    themes = Signs(
        {name: [word for group in dict(theme).values() for word in group] for name, theme in lexicon.themes.items()}
    )
    moods = Signs({name: mood.adjectives for name, mood in lexicon.moods.items()})
    table = {"the whole history": ceiling(readers, texts, themes, moods)}

    if not options.json:
        print(header(), line("the whole history", table["the whole history"]), sep="\n")

    def add(name: str, written: Written, quality: Quality) -> None:
        grounded = [
            quality.groundedness(summary, [texts[item] for item in reader.history])
            for summary, reader in zip(written.summaries, readers, strict=True)
        ]
        table[name] = measure(written.summaries, readers, themes, moods) | {
            "grounded": float(np.mean(grounded)),
            "calls": written.calls,
            "faulty": written.faults.pop("any", 0) / max(written.calls, 1),
            "seconds": written.seconds,
            "faults": {str(fault): count for fault, count in written.faults.most_common()},
        }
        if not options.json:
            print(line(name, table[name]), *written.summaries[: options.show], sep="\n", flush=True)

    for form in ("text", "structured"):
        extractive = Extractive(items, ATTRIBUTES, templates, form)
        started = time.perf_counter()
        summaries = [extractive.summary(reader.history) for reader in readers]
        seconds = time.perf_counter() - started
        quality = Quality(templates, SummaryConfig(form=form), str)
        add(f"extractive, {form}", Written(summaries, Counter(), 0, seconds), quality)
    weights = resolve_weights(options.model)
    chat = ChatFormat(load_tokenizer(weights))
    generator = LocalGenerator(load_model(weights), chat, weights.fingerprint)
    for form, grounded, method in [WAYS[number] for number in options.ways]:
        config = SummaryConfig(form=form, grounded=grounded, max_new_tokens=options.max_new_tokens)
        prompts = SummarizingPrompts(templates, ItemTexts(items, ATTRIBUTES, templates, chat), chat, config)
        quality = Quality(templates, config, prompts.finish)
        lines = tuple(templates.form.values()) if form == "structured" else ()
        written = write_with_llm(generator, prompts, quality, method, readers, config, lines)
        add(f"{form}{', grounded' * grounded}, {method}", written, quality)
    if options.json:
        print(json.dumps(table, indent=1))


def header() -> str:
    return f"| summary | {' | '.join(COLUMNS)} | faults |\n{'|---' * (len(COLUMNS) + 2)}|"


def line(name: str, row: Mapping) -> str:
    cells = " | ".join(show(column, row.get(column)) for column in COLUMNS)
    return f"| {name} | {cells} | {', '.join(f'{fault} {count}' for fault, count in row.get('faults', {}).items())} |"


def show(column: str, value: float | None) -> str:
    if value is None:
        return ""
    digits = {"calls": 0, "words": 0, "seconds": 0 if value >= 1 else 3}.get(column, 2)
    return f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
