"""Clean-ups: each does what its name says, is counted and can be switched off, and no text says anything else after."""

import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.config import CleaningConfig
from trsr.data.importing.cleaning import clean_texts

OFF = CleaningConfig(markup=False, lists=False, controls=False, spaces=False)
NO_MARKUP = st.text(st.characters(exclude_characters="<>&[]\u200b\ufeff", exclude_categories=("Cs", "Cc")), max_size=30)


def cleaned(*texts, config=None, **switches) -> tuple[list, dict]:
    """The texts cleaned, and the counts above 0."""
    counts: Counter[str] = Counter()
    config = config or (OFF.model_copy(update=switches) if switches else CleaningConfig())
    frame = clean_texts(pl.DataFrame({"text": texts}, schema={"text": pl.String}), config, counts)
    return frame["text"].to_list(), dict(+counts)


@pytest.mark.parametrize(
    "text",
    [
        "a < b & c > d", "5 <6", "R&D", "AT&T;", "AT&T", "x <b & c> y", "if (a <b && c> d)", "Map<String, List<T>>",
        "std::vector<int>", "#include <stdio.h>", "<3", "->", "a<=b", "p<0.05", "<Nintendo>", "<p and q>", "&", "&;",
        "&notit; that", "&copy=2&lt=3", "http://a.test/?a=1&copy=2&amp=3", "&unknown;", "[Import]", "[1, 2, 3]", "[]x",
        "['a', None]", "['a'", "['a', 'b'] and more", "[x for x in y]", "[Deluxe] ['97]", "{'a': 1}", "\"quoted\"",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f\u200d\U0001f525", "नमस्ते", "é", "e\u0301",
        "ﷺ", "\u200fשלום\u200e", "soft\u00adhyphen", "C:\\new\\table", "tab\\t", "100%", "$1", "\\1", "a_b*c*",
        "it's", "日本語", "½", "ſ", "İ", "-", "0", "None", "null", "NaN", "می\u200cخواهم", "\ufffd", "N/A",
    ],
)  # fmt: skip
def test_what_is_no_markup_stays_to_the_character(text):
    assert cleaned(text) == ([text], {})


@pytest.mark.parametrize(
    ("text", "clean", "what"),
    [
        ("<b>Bold</b> move", "Bold move", {"HTML tags": 1, "white space": 1}),
        ("one<br>two<BR/>three<br />four", "one two three four", {"HTML tags": 1}),
        ('see <a href="http://a.test/?a=1&b=2" target=_blank>it</a>!', "see it !", {"HTML tags": 1, "white space": 1}),
        ("a<!-- no\nword -->b", "a b", {"HTML tags": 1}),
        ('<p class="x">\nP\n</p>', "P", {"HTML tags": 1, "white space": 1}),
        ("R&amp;D &#38; more", "R&D & more", {"HTML entities": 1}),
        ("&lt;b&gt; is bold", "<b> is bold", {"HTML entities": 1}),
        ("caf&eacute; &#x1F600;", "café 😀", {"HTML entities": 1}),
        ("don&#146;t", "don’t", {"HTML entities": 1}),
        ("a&nbsp;b", "a b", {"HTML entities": 1, "white space": 1}),
        ("&#xD800;&#9999999;", "\ufffd\ufffd", {"HTML entities": 1}),
        ("&amp;notit; &copy", "&notit; &copy", {"HTML entities": 1}),
        ("['a', 'b']", "a, b", {"lists written as text": 1}),
        ('["it\'s", "\\u00e9", "\\ud83d\\ude00"]', "it's, é, 😀", {"lists written as text": 1}),
        ("['it\\'s', \"b\"]", "it's, b", {"lists written as text": 1}),
        ("['a' 'b'\n 'c']", "a, b, c", {"lists written as text": 1}),
        ("['" + "x" * 80 + "', 'y']", "x" * 80 + ", y", {"lists written as text": 1}),
        ("['" + "x" * 80 + "', '" + "y" * 80 + "']", "x" * 80 + " " + "y" * 80, {"lists written as text": 1}),
        ("['\\d']", "\\d", {"lists written as text": 1}),
        ("['<b>x</b>', '']", "x", {"lists written as text": 1, "HTML tags": 1, "white space": 1}),
        ("[]", None, {"lists written as text": 1, "values left empty": 1}),
        ("a\x00b\x07c\x7f", "abc", {"control characters": 1}),
        ("\ufeffa\u200bb", "ab", {"control characters": 1}),
        ("one\x0btwo\x0cthree\x85four\u2028five\u2029six\x1fseven", "one two three four five six seven",
         {"control characters": 1}),
        ("a\tb\r\nc  d\u3000e\xa0f\u1680g", "a b c d e f g", {"white space": 1}),
        (" a", "a", {"white space": 1}),
        ("a\u2003", "a", {"white space": 1}),
        ("", None, {"values left empty": 1}),
        (" \u3000 ", None, {"white space": 1, "values left empty": 1}),
        ("<br>", None, {"HTML tags": 1, "white space": 1, "values left empty": 1}),
        (None, None, {}),
    ],
)  # fmt: skip
def test_each_clean_up_and_its_count(text, clean, what):
    assert cleaned(text) == ([clean], what)
    assert cleaned("as it is", text, "as it is", None)[0] == ["as it is", clean, "as it is", None]
    assert cleaned(text, text)[1] == {name: 2 * count for name, count in what.items()}


@pytest.mark.parametrize(
    ("switch", "clean"),
    [
        ("lists", "a <b> &amp;\x07  c"),
        ("markup", "['a   &\x07  c']"),
        ("controls", "['a <b> &amp;  c']"),
        ("spaces", "['a <b> &amp;\x07 c']"),
    ],
)
def test_each_can_be_switched_on_alone(switch, clean):
    text = "['a <b> &amp;\x07  c']"
    assert cleaned(text, **{switch: True})[0] == [clean]
    assert cleaned(text, config=OFF) == ([text], {})


def test_switched_off_only_blank_texts_change():
    texts = ["", " ", "\n\t", "  x  ", None]
    assert cleaned(*texts, config=OFF) == ([None, None, None, "  x  ", None], {"values left empty": 3})


def test_long_fields_are_counted_and_kept():
    config = CleaningConfig(long_field=5)
    assert cleaned("abcde", "abcd", "äöüäöü", config=config) == (["abcde", "abcd", "äöüäöü"], {"long fields": 2})


def test_entries_of_lists_are_cleaned_and_empty_ones_dropped():
    counts: Counter[str] = Counter()
    lists = [["<b>a</b>", " ", "b"], [], None, ["  "], ["c"]]
    frame = pl.DataFrame(
        {"row": lists, "list": lists, "number": range(5)}, schema_overrides={"row": pl.List(pl.String)}
    )
    found = clean_texts(frame, CleaningConfig(), counts)
    assert found["row"].to_list() == found["list"].to_list() == [["a", "b"], None, None, None, ["c"]]
    assert found["number"].to_list() == [0, 1, 2, 3, 4]
    assert counts["HTML tags"] == 2


def test_no_rows_and_other_kinds_pass():
    frame = pl.DataFrame({"a": [], "b": [], "n": []}, schema={"a": pl.String, "b": pl.List(pl.String), "n": pl.Float64})
    assert clean_texts(frame, CleaningConfig(), Counter()).equals(frame)
    numbers = pl.DataFrame({"n": [1.5], "t": [True], "l": [[1]]})
    assert clean_texts(numbers, CleaningConfig(), Counter()).equals(numbers)


@given(st.lists(NO_MARKUP, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_without_markup_only_white_space_changes_and_only_once(texts):
    once, _ = cleaned(*texts)
    blank = re.compile(r"[\s\u2028\u2029]+")
    assert once == [blank.sub(" ", text).strip() or None for text in texts]
    assert cleaned(*once)[0] == once


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.none(), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_texts_do_not_depend_on_their_neighbours(texts):
    assert cleaned(*texts)[0] == [cleaned(text)[0][0] for text in texts]


@given(st.lists(st.text(max_size=6), max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_list_as_python_prints_it_says_its_entries(entries):
    kept = [entry.strip() for entry in entries if entry.strip()]
    text = ", ".join(kept).encode(errors="replace").decode()
    assert cleaned(repr(entries), lists=True)[0] == [text if text.strip() else None]
