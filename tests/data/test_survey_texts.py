"""The numbers on texts that `trsr data check` shows, against the slow obvious way."""

import random

import numpy as np
import polars as pl
import pytest

from trsr.data.survey import texts as texts_module
from trsr.data.survey.duplicates import survey_duplicates
from trsr.data.survey.leaks import rank_correlation, survey_titles
from trsr.data.survey.minhash import SIMILAR, hash_functions, near_pairs, shingles, signatures
from trsr.data.survey.spread import spread_of
from trsr.data.survey.texts import survey_texts
from trsr.llm.words import words

ITEMS = pl.DataFrame(
    {
        "item_id": ["a0001", "a0002", "a0003", "a0004", "b5"],
        "title": ["The Old Ship", "  the OLD ship! ", "Don't 3日本 สวัสดี é", None, "b5 and more"],
        "tags": [["sea", None, "wind"], ["sea", "wind"], [], None, ["x"]],
        "year": [1990, 1990, None, None, 7],
        "text": ["Sold as a0001.", "<b>bold</b> &amp; new", "x" * 2500, "  ", "['one', 'two']"],
    }
)
ATTRIBUTES = ("title", "tags", "year", "text")


def rendered(row):
    tags = ", ".join(tag for tag in row["tags"] or [] if tag is not None)
    return [str(value) if value is not None else "" for value in (row["title"], tags, row["year"], row["text"])]


@pytest.mark.parametrize("at_once", [2, 50_000])
def test_texts_are_what_reading_them_one_by_one_gives(monkeypatch, at_once):
    monkeypatch.setattr(texts_module, "ITEMS_AT_ONCE", at_once)
    counts = np.array([4, 0, 1, 2, 3])
    found, keys = survey_texts(ITEMS, ATTRIBUTES, counts)
    by_item = [sum(len(words(text)) for text in rendered(row)) for row in ITEMS.iter_rows(named=True)]
    assert (found.words.total, found.words.quantiles["max"]) == (sum(by_item), max(by_item))
    assert found.words_of_events.mean == sum(np.array(by_item) * counts) / 10
    title, tags, year, text = found.attributes
    assert [one.missing for one in found.attributes] == [1, 2, 2, 1]
    assert title.mean == sum(len(value) for value in ITEMS["title"].drop_nulls()) / 4
    assert (tags.longest, year.distinct, year.numbers, title.distinct) == (len("sea, wind"), 2, 3, 4)
    assert (text.markup, text.printed_lists, text.very_long, text.longest) == (1, 1, 1, 2500)
    assert [(one.item_id, one.attribute, one.characters) for one in found.longest] == [("a0003", "text", 2500)]
    assert (found.holding_own_id, found.holding_own_id_examples) == (1, ["a0001"])  # b5 is too short to tell
    assert keys.title[0] == keys.title[1] != keys.title[2]
    assert (keys.title[3], keys.text[3]) == (0, 0)
    assert len(set(keys.text.tolist())) == 5


def test_equal_titles_and_texts_are_counted_with_examples():
    items = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "4", "5", "6"],
            "title": ["Red Lamp", "red lamp.", "Blue lamp", "Green", None, None],
            "text": ["for the desk", "For the desk", "for the desk", "for", None, None],
        }
    )
    attributes = ("title", "text")
    found = survey_duplicates(items, attributes, survey_texts(items, attributes, np.ones(6, int))[1], seed=7)
    assert (found.same_title, found.same_text) == (2, 2)
    [pair] = found.same_text_examples
    assert (pair.item_ids, pair.titles, pair.similarity) == (("1", "2"), ("Red Lamp", "red lamp."), 1.0)
    assert found.compared == found.distinct == 3  # items without text are no copies of each other


def variants(rng, vocabulary):
    """Texts in families that differ in no, one or many words, and strangers."""
    made = []
    for _ in range(60):
        text = [rng.choice(vocabulary) for _ in range(rng.randint(60, 90))]
        made.append(text)
        if rng.random() < 0.5:
            made.append([*text[:-1], "other"])
        if rng.random() < 0.3:
            made.append([*text[: len(text) // 2], *(rng.choice(vocabulary) for _ in range(40))])
    made += [["one"], ["two", "words"], ["one", "two", "three"]]
    return [" ".join(text) for text in made]


def triples(text):
    split = text.split()
    return {tuple(split[place : place + 3]) for place in range(max(len(split) - 2, 1))}


def similarity(one, other):
    return len(triples(one) & triples(other)) / len(triples(one) | triples(other))


def test_shingles_are_three_words_in_a_row():
    hashes, counts = shingles(pl.Series(["a b c d", "b c d", "x", "a b c", "x y"]))
    assert counts.tolist() == [2, 1, 1, 1, 1]
    assert hashes[1] == hashes[2]  # b c d
    assert hashes[0] == hashes[4]  # a b c
    assert len(set(hashes.tolist())) == 4


def test_near_duplicates_are_those_that_comparing_all_pairs_finds():
    rng = random.Random(3)
    texts = variants(rng, [f"w{number}" for number in range(2000)])
    signed = signatures(pl.Series(texts), hash_functions(np.random.default_rng(5)))
    first, second, alike = near_pairs(signed)
    assert len(set(second.tolist())) == len(second)
    truth = {
        (one, other): similarity(texts[one], texts[other])
        for one in range(len(texts))
        for other in range(one + 1, len(texts))
    }
    near = {pair for pair, share in truth.items() if share >= SIMILAR}
    assert len(near) > 20
    assert {(min(pair), max(pair)) for pair in zip(first.tolist(), second.tolist(), strict=True)} == near
    for one, other, share in zip(first, second, alike, strict=True):
        assert share == pytest.approx(truth[min(one, other), max(one, other)], abs=0.2)


def test_a_sample_keeps_near_duplicates_together():
    """Or a large catalogue would seem free of them: of two items, both are seldom drawn."""
    rng = random.Random(4)
    vocabulary = [f"w{number}" for number in range(2000)]
    texts = [" ".join(rng.choice(vocabulary) for _ in range(60)) for _ in range(200)]
    pairs = pl.DataFrame(
        {"item_id": [f"i{n:03}" for n in range(400)], "title": texts + [f"{text} x" for text in texts]}
    )
    keys = survey_texts(pairs, ("title",), np.ones(400, int))[1]
    whole = survey_duplicates(pairs, ("title",), keys, seed=7)
    assert (whole.near_texts, whole.compared, whole.distinct) == (200, 400, 400)
    part = survey_duplicates(pairs, ("title",), keys, seed=7, most=80)
    assert (part.compared, part.distinct) == (80, 400)
    assert part.near_texts > 30  # ten at random
    assert [pair.titles[1] in (f"{pair.titles[0]} x", pair.titles[0][:-2]) for pair in part.near_text_examples] == [
        True
    ] * 3


def test_titles_are_found_in_other_texts_only():
    items = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "4", "5"],
            "title": ["Winter Light (1963)", "Winter Light II", "Lamp", "A Salt Road", "The Winter Lights"],
            "text": ["Winter light, again", "", "a lamp", "like the salt road", "on a salt; road"],
        }
    )
    found = survey_titles(items, ("title", "text"), seed=7)
    assert (found.titles, found.texts) == (4, 5)  # Lamp is one word
    assert found.found == 2
    assert found.examples == [("Winter Light (1963)", "Winter Light II"), ("A Salt Road", "The Winter Lights")]


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 9, 50).astype(float), rng.normal(size=50)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(one, one) == pytest.approx(1)
    assert rank_correlation(one, np.ones(50)) is None


@pytest.mark.parametrize("high", [0, 1, 9, 1500, 3 * 10**6])
def test_a_spread_counts_every_value_once(high):
    values = np.random.default_rng(1).integers(0, high + 1, 500)
    found = spread_of(values)
    assert (found.count, found.total, found.mean) == (500, values.sum(), pytest.approx(values.mean()))
    assert found.quantiles["median"] == sorted(values)[249]
    assert found.quantiles["p90"] == sorted(values)[449]
    assert (found.quantiles["min"], found.quantiles["max"]) == (values.min(), values.max())
    assert [bar.count for bar in found.histogram] == [
        ((values >= b.low) & (values <= b.high)).sum() for b in found.histogram
    ]
    assert sum(bar.count for bar in found.histogram) == 500
    assert all(
        after.low == before.high + 1 for before, after in zip(found.histogram, found.histogram[1:], strict=False)
    )
