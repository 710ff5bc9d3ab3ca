"""Words in any script: what counts as a word, as content, and as the same word."""

import pytest

from trsr.llm.words import all_stems, content_words, stems, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The ship's log, 1984!", ["the", "ship", "s", "log", "1984"]),
        ("L'ÉTÉ à Öland", ["l", "été", "à", "öland"]),
        ("हिन्दी किताबें", ["हिन्दी", "किताबें"]),  # the vowel signs are marks, not letters
        ("中文书 and กา", ["中", "文", "书", "and", "ก", "า"]),
        ("<|im_end|> …", ["im", "end"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_or_single_characters(text, found):
    assert list(words(text)) == found


def test_content_leaves_out_what_says_nothing():
    assert content_words("In 7 of the seas, at 海", {"the"}) == ["7", "seas", "海"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("garden", "gardening", True),
        ("mystery", "mysteries", True),
        ("sails", "sailing", True),
        ("space", "spacesuit", False),
        ("sea", "seal", False),
        ("constable", "constitution", False),
    ],
)
def test_words_with_other_endings_share_a_stem(one, other, same):
    assert (not all_stems([one]).isdisjoint(stems(other))) is same
