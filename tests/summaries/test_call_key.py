from dataclasses import replace

import pytest

from trsr.llm.protocol import Decoding, Piece, Prompt
from trsr.summaries.store import call_key

PROMPT = Prompt((Piece("be brief", True),), (Piece("item", False), Piece("end", True)), "Likes:")
DECODING = Decoding(64, 1.1, 4)
SAMPLED = replace(DECODING, temperature=0.7)


@pytest.mark.parametrize(
    ("decoding", "key"),
    [
        (DECODING, "5304218ce5004e34c5fc5734bbc0daee8c635836f93c31422bf5d21f5ee747d0"),
        (Decoding(64), "48102b5931a25463639dd277a39e47c450ea2c0006046cadaa83170aec910971"),
    ],
)
def test_texts_that_trsr_0_1_stored_are_found(decoding, key):
    """Keys written by trsr 0.1.0, whose decoding had three fields: a changed key makes a full store worthless."""
    assert call_key("m", PROMPT, decoding) == key


@pytest.mark.parametrize(
    ("prompt", "decoding"),
    [
        (replace(PROMPT, start="Likes"), DECODING),
        (replace(PROMPT, system=()), DECODING),
        (replace(PROMPT, user=PROMPT.user[:1]), DECODING),
        (replace(PROMPT, user=(Piece("item", True), PROMPT.user[1])), DECODING),
        (replace(PROMPT, user=(Piece("itemend", False),)), DECODING),
        (replace(PROMPT, user=PROMPT.user[::-1]), DECODING),
        (Prompt(PROMPT.user, PROMPT.system, PROMPT.start), DECODING),
        (PROMPT, replace(DECODING, max_new_tokens=65)),
        (PROMPT, replace(DECODING, repetition_penalty=1.0)),
        (PROMPT, replace(DECODING, no_repeat_ngram=0)),
        (PROMPT, SAMPLED),
        (PROMPT, replace(DECODING, grounded=True)),
        (PROMPT, replace(DECODING, form=("LIKES",))),
    ],
)
def test_the_key_changes_with_whatever_changes_the_output(prompt, decoding):
    assert call_key("m", prompt, decoding) != call_key("m", PROMPT, DECODING)
    assert call_key("other", prompt, decoding) != call_key("m", prompt, decoding)


def test_the_seed_counts_where_something_is_drawn_and_nowhere_else():
    assert call_key("m", PROMPT, replace(DECODING, seed=2)) == call_key("m", PROMPT, DECODING)
    assert call_key("m", PROMPT, replace(SAMPLED, seed=2)) != call_key("m", PROMPT, SAMPLED)
