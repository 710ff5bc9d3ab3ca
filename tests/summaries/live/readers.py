"""Readers whose events a test knows, as a dataset folder, and the settings that their summaries are made with."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from trsr.config import SummaryConfig
from trsr.llm.chat import ChatFormat
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet

BLOCK = 4
FAN_IN = 3
HOUR = 3600
BOOKS = 120
SPARE = 20  # books that nobody has read where readers share none
SUBJECTS = ("sea", "birds", "boats", "lamps", "ink", "winter", "coast", "night", "letters", "storms")
SUMMARIES: dict[str, Any] = {
    "dtype": "float32",
    "block_size": BLOCK,
    "item_tokens": 32,
    "max_new_tokens": 96,
    "batch_size": 4,
}


def title(number: int) -> str:
    return f"{SUBJECTS[number % 10]} {SUBJECTS[number // 10 % 10]} {number}"


@dataclass
class Readers:
    """Titles by item id, and every reader's events as (item id, time), oldest first."""

    titles: dict[str, str]
    events: dict[str, list[tuple[str, int | None]]]

    def write(self, folder: Path) -> Path:
        """The dataset folder of all readers; what was there is replaced."""
        folder.mkdir(exist_ok=True)
        items = pl.DataFrame({"item_id": list(self.titles), "title": list(self.titles.values())})
        items.write_parquet(folder / "items.parquet")
        rows = [
            (user, item, time, place)
            for user, events in self.events.items()
            for place, (item, time) in enumerate(events)
        ]
        schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "position": pl.Int64}
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "interactions.parquet")
        return folder

    def items(self, user: str) -> list[str]:
        """Item ids of a reader's events, oldest first."""
        return [item for item, _ in self.events[user]]

    def append(self, user: str, *items: str) -> None:
        """A reader reads on, an hour a book."""
        for item in items:
            last = self.events[user][-1][1] or 0
            self.events[user].append((item, last + HOUR))


def make_readers(users: int, least: int = 12, most: int = 30, seed: int = 0, apart: bool = False) -> Readers:
    """Readers of `least` to `most` different books, an hour apart; with `apart`, of books that no other has read."""
    chance = random.Random(seed)
    titles = {f"b{number:03d}": title(number) for number in range(users * most + SPARE if apart else BOOKS)}
    events: dict[str, list[tuple[str, int | None]]] = {}
    for number in range(users):
        among = sorted(titles)[number * most : (number + 1) * most] if apart else sorted(titles)
        read = chance.sample(among, chance.randint(least, most))
        start = 1_700_000_000 + 100 * number
        events[f"r{number:03d}"] = [(item, start + HOUR * place) for place, item in enumerate(read)]
    return Readers(titles, events)


def unread(readers: Readers) -> list[str]:
    """Books that nobody has read."""
    return sorted(set(readers.titles).difference(*(readers.items(user) for user in readers.events)))


def blocks_of(items: Sequence[str], size: int = BLOCK) -> list[tuple[str, ...]]:
    """The slow obvious way to cut by count."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def recurrent_texts(blocks: Sequence[tuple[str, ...]]) -> set[Any]:
    """What the texts of a recurrent summary depend on: all blocks up to one."""
    return {tuple(blocks[: end + 1]) for end in range(len(blocks))}


def hierarchical_texts(blocks: Sequence[tuple[str, ...]], fan_in: int) -> set[Any]:
    """What the texts of a hierarchical summary depend on: every block, and every group of texts below a merge."""
    level: list[Any] = list(blocks)
    found = set(level)
    while len(level) > 1:
        groups = [tuple(level[start : start + fan_in]) for start in range(0, len(level), fan_in)]
        level = [group if len(group) > 1 else group[0] for group in groups]
        found |= {("merge", *group) for group in groups if len(group) > 1}
    return found


Cut = Callable[[Sequence[str]], list[tuple[str, ...]]]


def blocks_by_user(readers: Readers, cut: Cut = blocks_of) -> dict[str, list[tuple[str, ...]]]:
    """The blocks of every reader, of items with their titles: what a summary is made of."""
    return {
        user: [tuple(f"{item}: {readers.titles[item]}" for item in block) for block in cut(readers.items(user))]
        for user in readers.events
    }


def texts_of(readers: Readers, method: str, cut: Cut = blocks_of, fan_in: int = FAN_IN) -> set[Any]:
    """All texts that the readers' summaries take; two readers share one where it depends on the same items."""
    blocks = blocks_by_user(readers, cut).values()
    if method == "recurrent":
        return set().union(*map(recurrent_texts, blocks))
    return set().union(*(hierarchical_texts(of_one, fan_in) for of_one in blocks))


@cache
def _prompt_tokens(model: Path, fan_in: int, new_tokens: int) -> int:
    """The tokens of a prompt in which so many summaries can be merged, and half of one more, however it is worded."""
    config = SummaryConfig(**SUMMARIES | {"max_new_tokens": new_tokens})
    chat, templates = ChatFormat(load_tokenizer(resolve_weights(str(model)))), TemplateSet("books")
    prompts = SummarizingPrompts(templates, ItemTexts({}, ["title"], templates, chat), chat, config)
    frame, each = prompts.frame_tokens("merge")
    return frame + (2 * fan_in + 1) * (each + prompts.summary_tokens) // 2


def write_settings(
    path: Path, model: Path, backend: Mapping[str, Any] | None, fan_in: int = FAN_IN, **changes: Any
) -> Path:
    """An experiment file; `changes` are of its summaries, or of its data or prompt where they name that section.

    A merge has room for `fan_in` summaries.
    """
    sections: dict[str, dict[str, Any]] = {
        "data": {"path": "elsewhere", "attributes": ["title"]},
        "prompt": {"template": "books"},
    }
    for name, section in sections.items():
        section |= changes.pop(name, {})
    summaries = SUMMARIES | {"model": str(model)} | ({"backend": dict(backend)} if backend else {}) | changes
    summaries.setdefault("max_prompt_tokens", _prompt_tokens(model, fan_in, summaries["max_new_tokens"]))
    path.write_text(yaml.safe_dump({"name": "live", **sections, "summaries": summaries}), encoding="utf-8")
    return path
