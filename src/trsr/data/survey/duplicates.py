"""Items that say the same as another one, or nearly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import ITEM
from trsr.data.seeds import generator
from trsr.data.survey.minhash import hash_functions, mixed, near_pairs, signatures
from trsr.data.survey.texts import EXAMPLES, ITEMS_AT_ONCE, ItemKeys
from trsr.data.survey.wording import as_text, normalised, whole_text

MOST_COMPARED = 100_000
CHARACTERS_READ = 2_000
"""Characters at the beginning of a text that near duplicates are looked for in."""

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two items, their titles, and the share of their shingles that they have in common where that was looked at."""

    item_ids: tuple[str, str]
    titles: tuple[str, str]
    similarity: float | None = None


@dataclass(frozen=True)
class DuplicateSurvey:
    """Items whose title, or whole text, another item has too (normalised), and items that nearly repeat another.

    `near_texts` counts items beside one that says nearly the same, equal texts left out; `compared` distinct texts
    were looked at, of `distinct`. Where these are fewer, they are those with the least hash of a shingle, so texts
    that are alike are likely to be among them together.
    """

    same_title: int
    same_title_examples: list[Pair]
    same_text: int
    same_text_examples: list[Pair]
    near_texts: int
    near_text_examples: list[Pair]
    compared: int
    distinct: int


def survey_duplicates(
    items: pl.DataFrame, attributes: Sequence[str], keys: ItemKeys, seed: int, most: int = MOST_COMPARED
) -> DuplicateSurvey:
    """Equal titles and texts of all items; near duplicates among at most `most` distinct texts."""
    titles, texts = _repeated(keys.title), _repeated(keys.text)
    distinct = np.sort(np.unique(keys.text, return_index=True)[1])
    distinct = distinct[keys.text[distinct] != 0]
    chosen = distinct if len(distinct) <= most else _likely_together(items, attributes, distinct, most, seed)
    functions = hash_functions(generator(seed, "near duplicates"))
    signed = _signed(items, attributes, chosen, functions)
    first, second, alike = near_pairs(signed) if len(chosen) > 1 else (chosen[:0], chosen[:0], np.zeros(0))
    near = [
        _pair(items, attributes, int(chosen[one]), int(chosen[other]), float(share))
        for one, other, share in zip(first[:EXAMPLES], second[:EXAMPLES], alike[:EXAMPLES], strict=True)
    ]
    return DuplicateSurvey(
        same_title=titles[0],
        same_title_examples=[_pair(items, attributes, *pair) for pair in titles[1]],
        same_text=texts[0],
        same_text_examples=[_pair(items, attributes, *pair, 1.0) for pair in texts[1]],
        near_texts=len(second),
        near_text_examples=near,
        compared=len(chosen),
        distinct=len(distinct),
    )


def _repeated(keys: Hashes) -> tuple[int, list[tuple[int, int]]]:
    """How many items share their key with another one, and some pairs that do."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    shares = np.zeros(len(keys), np.bool_)
    shares[1:] |= same
    shares[:-1] |= same
    firsts = np.flatnonzero(same & np.concatenate([[True], ~same[:-1]]))[:EXAMPLES]
    return int(shares.sum()), [(int(order[place]), int(order[place + 1])) for place in firsts]


def _likely_together(items: pl.DataFrame, attributes: Sequence[str], rows: Ints, most: int, seed: int) -> Ints:
    """As many as `most` of the rows, chosen by the least hash of their shingles."""
    least = _signed(items, attributes, rows, hash_functions(generator(seed, "near duplicates, sample"), places=1))
    return np.sort(rows[np.argsort(mixed(least[:, 0]), kind="stable")[:most]])


def _signed(items: pl.DataFrame, attributes: Sequence[str], rows: Ints, functions: Hashes) -> Hashes:
    parts = [rows[start : start + ITEMS_AT_ONCE] for start in range(0, max(len(rows), 1), ITEMS_AT_ONCE)]
    return np.concatenate([signatures(_texts(items, attributes, part), functions) for part in parts])


def _texts(items: pl.DataFrame, attributes: Sequence[str], rows: Ints) -> pl.Series:
    texts = as_text(items[rows], tuple(attributes))
    return texts.select(compared_text(list(attributes))).to_series()


def compared_text(attributes: list[str]) -> pl.Expr:
    """What is compared of an item, once each attribute is text: the beginning of the whole, normalised."""
    return normalised(whole_text(attributes).str.head(CHARACTERS_READ))


def _pair(
    items: pl.DataFrame, attributes: Sequence[str], first: int, second: int, similarity: float | None = None
) -> Pair:
    titles = as_text(items[[first, second]], tuple(attributes[:1]))
    return Pair((titles[ITEM][0], titles[ITEM][1]), (titles[attributes[0]][0], titles[attributes[0]][1]), similarity)
