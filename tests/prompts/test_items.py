"""Items as text: what the model gets to read of an item."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_parts import CHAT

from tiny import make_tokenizer
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet


def text_of(row, attributes=("title", "subject"), show_ids=False):
    return ItemTexts({"i1": row}, attributes, TemplateSet("generic"), CHAT, show_ids).whole("i1")


def test_attributes_are_named_and_in_the_order_asked_for():
    row = {"title": "Sea", "subject": "birds"}
    assert text_of(row) == "title: Sea | subject: birds"
    assert text_of(row, ("subject", "title")) == "subject: birds | title: Sea"
    assert text_of(row, ("title",)) == "title: Sea"


def test_ids_are_left_out_unless_asked_for():
    row = {"title": "Sea", "subject": "birds"}
    assert "i1" not in text_of(row)
    assert text_of(row, show_ids=True) == "id: i1 | title: Sea | subject: birds"


@pytest.mark.parametrize("empty", [None, "", "  ", "\u200b", [], [None]])
def test_empty_attributes_are_left_out(empty):
    assert text_of({"title": "Sea", "subject": empty}) == "title: Sea"


def test_an_item_without_any_text_says_so():
    assert text_of({"title": None, "subject": ""}) == "(no text)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(["a", None, "b"], "a, b"), (1999, "1999"), (0, "0"), (4.5, "4.5"), (False, "False"), ("two\nlines", "two lines")],
)
def test_values_are_shown_plainly(value, shown):
    assert text_of({"title": "Sea", "subject": value}) == f"title: Sea | subject: {shown}"


def test_an_attribute_name_cannot_break_the_line_either():
    assert text_of({"ti\n<|im_end|>tle": "Sea"}, ("ti\n<|im_end|>tle",)) == "ti im_end tle: Sea"


def test_what_was_shortened_is_known_by_item_and_budget():
    rows = {"long": {"title": "word " * 50}, "short": {"title": "Sea"}}
    items = ItemTexts(rows, ["title"], TemplateSet("generic"), CHAT)
    assert items.text("long", 24) == "title: word word word…"
    assert items.text("short", 24) == "title: Sea"
    items.text("long", 24)
    assert items.shortened == {("long", 24)}
    assert items.text("long", 34) == "title: word word word word word…"
    assert items.shortened == {("long", 24), ("long", 34)}


@settings(max_examples=100, deadline=None)
@given(title=st.text(max_size=400), budget=st.integers(8, 80))
def test_an_item_never_exceeds_its_budget(title, budget):
    items = ItemTexts({"i": {"title": title}}, ["title"], TemplateSet("generic"), CHAT)
    assert len(CHAT.encode_piece(Piece(items.text("i", budget), False))) <= budget


def test_a_template_of_ones_own_is_still_kept_on_one_line(tmp_path):
    (tmp_path / "words.yaml").write_text('item: "game"\n', encoding="utf-8")
    (tmp_path / "item.j2").write_text(
        "{% for name, value in attributes %}{{ name }}\n{{ value }}\n{% endfor %}", encoding="utf-8"
    )
    items = ItemTexts({"i": {"title": "Sea"}}, ["title"], TemplateSet(str(tmp_path)), ChatFormat(make_tokenizer()))
    assert items.whole("i") == "title Sea"


MARKED = ChatFormat(make_tokenizer(extra_markers=("<think>", "<｜User｜>")))
SPOKEN = ChatFormat(make_tokenizer("USER: {{ messages[-1]['content'] }} ASSISTANT:"))
fields = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["😀👩‍👩‍👧 ", "漢字", "word, ", "<think>", "<|im_end|>", "<｜User｜> ", "a ASSISTANT: b"]).flatmap(
        lambda piece: st.integers(0, 40).map(lambda times: piece * times)
    ),
    st.sampled_from(["x" * 50_000, "word " * 10_000, "é😀" * 12_500, "<<think>> " * 5_000]),
)


@pytest.mark.parametrize("chat", [CHAT, MARKED, SPOKEN], ids=["plain", "marked", "spoken"])
@settings(max_examples=25, deadline=None)
@given(titles=st.lists(fields, max_size=5), budget=st.integers(1, 64))
def test_many_texts_at_once_are_those_made_one_by_one(chat, titles, budget):
    rows = {f"i{number}": {"title": title} for number, title in enumerate(titles)}
    ids = [*rows, *rows]
    one, many = (ItemTexts(rows, ["title"], TemplateSet("generic"), chat) for _ in range(2))
    expected = [one.text(item, budget) for item in ids]
    assert many.texts(ids, budget) == expected
    assert many.shortened == one.shortened
    alone = ChatFormat(chat.tokenizer)  # which has nothing in store
    assert [chat.encode_piece(Piece(text, False)) for text in expected] == [
        alone.encode_piece(Piece(text, False)) for text in expected
    ]
    assert many.tokens(ids) == [len(alone.encode_piece(Piece(one.whole(item), False))) for item in ids]


def test_ids_kept_for_later_are_the_ids_of_the_text():
    chat = ChatFormat(make_tokenizer())
    ((text, cut),) = chat.shorten_all(["tea " * 40], 16)
    assert cut
    chat._tokenize = None  # so that nothing can be read now
    assert chat.encode_piece(Piece(text, False)) == CHAT.encode_piece(Piece(text, False))
