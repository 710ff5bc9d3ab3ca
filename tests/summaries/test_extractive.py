"""The summariser without a model: it names what the user has more of than the catalogue, and says no more."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.config import BookshopConfig, SummaryConfig
from trsr.data.bookshop import make_bookshop
from trsr.llm.words import content_words, words
from trsr.prompts.templates import TemplateSet
from trsr.summaries.extractive import COMMON_SHARE, HALF_LIFE, Extractive
from trsr.summaries.quality import Quality
from trsr.summaries.structured import parse

SHOP = make_bookshop(BookshopConfig(books=120, readers=40))
ROWS = {row["item_id"]: row for row in SHOP.items.iter_rows(named=True)}
ATTRIBUTES = ["title", "author", "subjects", "description"]
BOOKS = TemplateSet("books")
START = BOOKS.text("summary_start").strip()
TEXT = Extractive(ROWS, ATTRIBUTES, BOOKS)
STRUCTURED = Extractive(ROWS, ATTRIBUTES, BOOKS, "structured")
histories = st.lists(st.sampled_from(sorted(ROWS)), min_size=1, max_size=14)


def make(rows, form="text", template="shop", **more):
    return Extractive(rows, list(next(iter(rows.values()))), TemplateSet(template), form, **more)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_it_says_only_what_the_items_say_and_the_same_again(history):
    quality = Quality(BOOKS, SummaryConfig(), str)
    texts = [" ".join(str(ROWS[item][name]) for name in ATTRIBUTES) for item in history]
    for extractive, form in ((TEXT, "text"), (STRUCTURED, "structured")):
        summary = extractive.summary(history)
        assert summary == Extractive(ROWS, ATTRIBUTES, BOOKS, form).summary(history)
        assert quality.groundedness(summary, texts) == 1
    assert TEXT.summary(history).startswith(f"{START} ")
    assert parse(STRUCTURED.summary(history), list(BOOKS.form.values()), 60)[1] == ()


def obvious_order(history):
    """Words by share in the items, less their heaviest item, times log of share over share in the catalogue."""
    texts = {item: {w for name in ATTRIBUTES for w in said(row[name])} for item, row in ROWS.items()}
    in_catalogue = Counter(word for found in texts.values() for word in found)
    weights = [2 ** (-age / HALF_LIFE) for age in range(len(history) - 1, -1, -1)]
    scores = {}
    for word in {word for item in history for word in texts[item]}:
        if not 2 <= in_catalogue[word] <= COMMON_SHARE * len(ROWS):
            continue
        mine = [weight / sum(weights) for item, weight in zip(history, weights, strict=True) if word in texts[item]]
        scores[word] = (sum(mine) - max(mine)) * math.log(sum(mine) * len(ROWS) / in_catalogue[word])
    return scores


def said(text):
    return content_words(text or "", BOOKS.function_words)


@pytest.mark.parametrize("user", [0, 7, 31])
def test_the_order_is_that_of_the_formula(user):
    history = SHOP.interactions.partition_by("user_id", maintain_order=True)[user]["item_id"].to_list()
    scores = obvious_order(history)
    chosen = [word for word in TEXT.summary(history).removeprefix(START)[:-1].strip().split(", ") if word in scores]
    found = [scores[word] for word in chosen]
    assert len(found) >= 5
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(max(scores.values()))


def test_brands_price_and_recent_change_have_their_lines():
    rows = {
        **{f"a{n}": {"title": f"Kettle {n}", "brand": "Acme", "price": 10.0 + n} for n in range(6)},
        **{f"b{n}": {"title": f"Lamp {n}", "brand": "Bolt", "price": 90.0} for n in range(6)},
        **{f"c{n}": {"title": f"Chair {n}", "brand": "Cord", "price": 50.0} for n in range(9)},
    }
    summary = make(rows, "structured").summary(["a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2", "b3"])
    values, _ = parse(summary, list(TemplateSet("shop").form.values()), 20)
    assert set(values["brands"].split(", ")) == {"Acme", "Bolt"}
    assert values["price"] == "14"
    assert "Bolt" in values["recently"]
    assert "Acme" not in values["recently"]
    assert values["dislikes"] == "unknown"


def test_recent_items_count_more():
    rows = {f"{kind}{n}": {"subjects": kind} for kind in ("sea", "law", "art") for n in range(5)}
    assert make(rows).summary(["sea0", "sea1", "law0", "law1"]).endswith(" law, sea.")
    assert make(rows).summary(["law0", "law1", "sea0", "sea1"]).endswith(" sea, law.")


def test_a_history_without_terms_or_items_has_no_summary():
    rows = {"a": {"title": "One"}, "b": {"title": "Two"}, "c": {"title": None}}
    assert make(rows).summary(["a", "c"]) == ""
    assert make(rows).summary([]) == ""
    assert make(rows, "structured").summary(["c"]).startswith("likes: unknown | ")


def test_item_text_stays_data():
    rows = (
        {f"a{n}": {"subjects": ["sea <|im_end|>", "x | y"]} for n in range(2)}
        | {"b": {"subjects": ["law"]}}
        | {f"c{n}": {"subjects": ["art"]} for n in range(6)}
    )
    assert "<|" not in make(rows).summary(["a0", "a1"])


def test_scripts_without_spaces_are_read():
    rows = {f"a{n}": {"标题": f"海上的旅行{n}"} for n in range(3)} | {f"b{n}": {"标题": "法律"} for n in range(5)}
    assert set(words(make(rows).summary(["a0", "a1"]))) > set("海旅行")
