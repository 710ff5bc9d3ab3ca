"""How long the texts of items are in tokens, and how many do not fit into the budgets of a prompt."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.columns import ITEM
from trsr.data.seeds import generator
from trsr.data.survey.coded import CodedEvents, Ints
from trsr.data.survey.spread import Spread, spread_of
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet

ITEMS, EVENTS = 5_000, 5_000
"""At most so many items, and items of so many events, are tokenised."""


@dataclass(frozen=True)
class Budget:
    """The share of items, and of events, whose item's text has more tokens than a setting allows."""

    setting: str
    tokens: int
    items: float
    events: float


@dataclass(frozen=True)
class ItemTokens:
    """Tokens of whole item texts by the tokenizer of `model`, over items and weighted by events.

    `sampled_items` of `of_items` were tokenised, and the items of `sampled_events` of `of_events`.
    """

    model: str
    items: Spread
    events: Spread
    sampled_items: int
    of_items: int
    sampled_events: int
    of_events: int
    budgets: list[Budget]


def rows_by_id(items: pl.DataFrame, places: Ints) -> dict[str, dict[str, Any]]:
    """The attributes of the items at some places of a catalogue."""
    return {row[ITEM]: row for row in items[np.unique(places)].iter_rows(named=True)}


def measure_items(
    items: pl.DataFrame,
    attributes: tuple[str, ...],
    events: CodedEvents,
    chat: ChatFormat,
    model: str,
    config: ExperimentConfig,
) -> ItemTokens:
    """Tokenise items drawn by the seed, and the items of events drawn by it."""
    rng = generator(config.seed, "item tokens")
    some = sample(items.height, ITEMS, rng)
    read = events.item[sample(events.item.size, EVENTS, rng)].astype(np.int64)
    rows = rows_by_id(items, np.concatenate([some, read]))
    ids = events.items

    def lengths(template: str) -> tuple[Ints, Ints]:
        texts = ItemTexts(rows, attributes, TemplateSet(template), chat)
        of = {item: len(chat.encode_piece(Piece(texts.whole(item), False))) for item in rows}
        return _lengths(of, ids.gather(some)), _lengths(of, ids.gather(read))

    shown = lengths(config.prompt.template)
    summed_up = shown if config.summaries.template is None else lengths(config.summaries.template)
    settings = {
        "prompt.item_tokens": (config.prompt.item_tokens, *shown),
        "prompt.candidate_tokens": (config.prompt.candidate_tokens, *shown),
        "summaries.item_tokens": (config.summaries.item_tokens, *summed_up),
    }
    by_item, by_event = shown
    return ItemTokens(
        model=model,
        items=spread_of(by_item),
        events=spread_of(by_event),
        sampled_items=len(some),
        of_items=items.height,
        sampled_events=len(read),
        of_events=int(events.item.size),
        budgets=[
            Budget(name, most, float((items > most).mean()), float((events > most).mean()))
            for name, (most, items, events) in settings.items()
        ],
    )


def sample(size: int, most: int, rng: np.random.Generator) -> Ints:
    """At most `most` places of `size`, ascending."""
    if size <= most:
        return np.arange(size)
    return np.sort(rng.choice(size, most, replace=False))


def _lengths(lengths: dict[str, int], items: Iterable[str]) -> Ints:
    return np.array([lengths[item] for item in items], dtype=np.int64)
