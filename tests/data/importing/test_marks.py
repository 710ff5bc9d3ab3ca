"""Rows by bits, against the plainest way; if this fails, rows of a file are torn or joined, or get a wrong line."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trsr.data.importing import marks
from trsr.data.importing.marks import count, rows_of

PIECES = st.lists(
    st.sampled_from(["a", "x" * 61, ",", "\n", '"', '""', '",', ',"', '"\n', '\n"', '"",', "é"]), max_size=60
)


def slowly(text, quoted):
    """First lines, separators, and whether two quotes are a field; None where a quote stands within a field."""
    lines, separators, blank = [0], [0], False
    inside, line = False, 0
    for at, character in enumerate(text):
        before, behind = text[at - 1 : at] or "\n", text[at + 1 : at + 2]
        if quoted and character == '"':
            inside = not inside
            if (before if inside else behind) not in (",", "\n", '"'):
                return None
            blank |= inside and before != '"' and behind == '"' and text[at + 2 : at + 3] in (",", "\n")
        elif character == "\n":
            line += 1
            if not inside:
                lines.append(line)
                separators.append(0)
        elif character == "," and not inside:
            separators[-1] += 1
    return None if inside else (lines[:-1], separators[:-1], blank)


@given(PIECES, st.booleans(), st.sampled_from([8, 64, 2**17]))
@example(["x" * 61, "a", "a", "\n", '"', "a", '"'], True, 64)  # a quote that opens at the end of a word
@example(["x" * 61, ",", '"', '"'], True, 8)
@settings(max_examples=300, deadline=None)
def test_the_plainest_way_says_the_same(pieces, quoted, step):
    text = "".join(pieces) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_STEP", step)
        rows = rows_of(text.encode(), ",", quoted)
        assert count(text.encode(), b"\n") == text.count("\n")
    found = rows and (rows.lines.tolist(), rows.separators.tolist(), rows.blank_quoted)
    assert found == slowly(text, quoted)
