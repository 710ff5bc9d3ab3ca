"""What is wrong with a summary is found, what is right is let through, in any language."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.config import SummaryConfig
from trsr.llm.protocol import Decoding, Generation, Piece, Prompt
from trsr.llm.words import content_words
from trsr.prompts.templates import TemplateSet
from trsr.summaries.quality import Fault, Quality, faults, groundedness, other_decoding

ITEMS = ["title: The Last Judge | subjects: trials, gardens | description: She keeps the law of a small town in Wales."]
TOLD = "You keep short notes on what a reader likes, from the books they read."
GOOD = "This reader likes trials and gardens, and a quiet pace."
BOOKS = TemplateSet("books")
letters = st.characters(categories=["Ll", "Lo"], exclude_characters="ªº")
a_word = st.text(letters, min_size=3, max_size=9).filter(lambda word: word.upper().casefold() == word.casefold())


def found(text, inputs=ITEMS, allowed=TOLD, limit=400, cut=False, refusals=BOOKS.refusals):
    return faults(text, inputs, allowed, limit, cut, refusals)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault.EMPTY),
        (" \n - … !", Fault.EMPTY),
        ("I'm sorry, but I cannot tell what this reader likes.", Fault.REFUSAL),
        ("As an AI language model I have no taste of my own.", Fault.REFUSAL),
        ("She keeps the law of a small town in Wales.", Fault.ECHO),
        ("Notes on what a reader likes, from the books they read: you keep short notes on what a reader", Fault.ECHO),
        ("the sea, the sea, the sea, the sea, the sea", Fault.REPETITION),
        ("sea sea sea", Fault.REPETITION),
        ("gardens, trials, gardens, trials, trials, gardens, gardens, trials, trials", Fault.REPETITION),
        ("trials and gardens, quiet " + "x" * 400, Fault.TOO_LONG),
    ],
)
def test_each_fault_is_found_and_no_other(text, fault):
    assert found(text) == (fault,)


@pytest.mark.parametrize(
    "text", [GOOD, "Trials, gardens.", "花园和法律。安静的故事,海上的旅行。", "Gärten und Gerichte."]
)
def test_a_good_summary_has_no_fault(text):
    assert found(text, cut=True) == ()


def test_only_what_the_limit_cut_off_runs_away():
    assert found("trials, gardens and a quiet", cut=True) == (Fault.RUNAWAY,)
    assert found("trials, gardens and a quiet", cut=False) == ()


def test_naming_a_subject_or_a_title_is_no_echo():
    assert found("The Last Judge, trials, gardens and a small town, quiet and slow books about the country") == ()


@given(st.text(max_size=300), st.lists(st.text(max_size=100), max_size=3), st.booleans())
def test_no_text_is_too_strange_to_be_judged(text, inputs, cut):
    verdict = found(text, inputs, cut=cut)
    assert list(verdict) == [fault for fault in Fault if fault in verdict]
    assert 0 <= groundedness(text, inputs, TOLD) <= 1


@given(st.lists(a_word, min_size=1, max_size=6), st.integers(5, 9))
def test_every_loop_is_a_repetition(phrase, times):
    assert Fault.REPETITION in found(" ".join(phrase * times), inputs=[], limit=10**6)


@given(st.lists(a_word, min_size=8, max_size=30, unique=True))
def test_a_copied_input_is_an_echo_and_nothing_copied_is_none(copied):
    text = " ".join(copied)
    assert Fault.ECHO in found(text.upper(), inputs=["x", f"title: {text}."])
    assert Fault.ECHO not in found(text, inputs=["x"], allowed="y")


@given(st.lists(a_word, min_size=1, max_size=12), st.lists(a_word, max_size=12), st.randoms())
def test_groundedness_is_the_share_of_supported_words(inside, outside, random):
    text = [*inside, *outside]
    random.shuffle(text)
    known = " ".join(inside).upper()
    share = groundedness(", ".join(text), [known], "")
    assert share >= len(content_words(" ".join(inside))) / len(content_words(" ".join(text))) - 1e-9
    assert groundedness(", ".join(inside), [known], "") == 1
    assert groundedness(", ".join(text), ["", known], " ".join(outside)) == 1


def test_groundedness_counts_content_words_and_forgives_endings():
    inputs = ["gardens and murder mysteries"]
    assert groundedness("Gardening, a mystery with dragons", inputs, "", {"with"}) == pytest.approx(2 / 3)
    assert groundedness("of the at", inputs, "", {"the"}) == 1


def quality(**settings):
    return Quality(BOOKS, SummaryConfig(max_new_tokens=30, **settings), lambda text: f"Likes {text.strip()}")


def ask(*data):
    return Prompt((Piece(TOLD, True),), (Piece("Books:", True), *(Piece(text, False) for text in data)), "Likes")


def test_a_cut_text_ends_with_its_last_whole_sentence():
    examined = quality().examine(ask(*ITEMS), Generation(" trials. Gardens too! And then he", 50, 30))
    assert (examined.text, examined.faults) == ("Likes trials. Gardens too!", ())
    whole = quality().examine(ask(*ITEMS), Generation(" trials. Gardens too! And then he", 50, 12))
    assert (whole.text, whole.faults) == ("Likes trials. Gardens too! And then he", ())


def test_an_update_may_keep_what_the_summary_said():
    old = "This reader likes books such as slow stories about trials and gardens in small Welsh towns."
    again = Generation(old.removeprefix("This reader likes books such as"), 50, 20)
    assert quality().examine(ask(old, *ITEMS), again).faults == ()


def test_the_start_that_the_template_gave_is_not_what_makes_a_summary_grounded():
    start = BOOKS.text("summary_start").strip()
    assert quality().groundedness(f"{start} dragons", ITEMS) == 0
    assert quality().groundedness(f"{start} trials, dragons", ITEMS) == 0.5


STRUCTURED = "likes: trials, gardens\ndislikes: unknown\ntopics: law\nlength: unknown\nrecently: Wales"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STRUCTURED, ()),
        (STRUCTURED.replace("topics: law\n", ""), (Fault.MALFORMED,)),
        (STRUCTURED + "\nI hope this helps!", (Fault.MALFORMED,)),
        (STRUCTURED.replace("law", "a b c d e f g"), (Fault.TOO_LONG,)),
        ("I'm sorry, I cannot do that.", (Fault.EMPTY, Fault.MALFORMED)),
    ],
)
def test_a_structured_summary_must_have_its_form(text, expected):
    assert quality(form="structured").examine(ask(*ITEMS), Generation(text, 50, 20)).faults == expected


def test_a_structured_summary_is_kept_on_one_line():
    examined = quality(form="structured").examine(ask(*ITEMS), Generation(STRUCTURED, 50, 20))
    assert examined.text == STRUCTURED.replace("\n", " | ")
    assert quality(form="structured").groundedness(examined.text, ITEMS) == 1


@settings(max_examples=20)
@given(st.floats(1, 2), st.integers(0, 5), st.booleans())
def test_a_second_call_is_made_otherwise(penalty, ngram, samples):
    first = Decoding(64, penalty, ngram, grounded=True, form=("likes",))
    second = other_decoding(first, samples)
    assert second != first
    assert (second.max_new_tokens, second.grounded, second.form) == (64, True, ("likes",))
    assert (second.temperature > 0) is samples
