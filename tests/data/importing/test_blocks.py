"""A file in blocks: nothing lost, nothing twice, line numbers that a person finds in an editor."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.data.importing import blocks as module
from trsr.data.importing.blocks import blocks

BOM = b"\xef\xbb\xbf"
LINES = st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b'"', b",", b"\xff", b"\0"]), max_size=40).map(b"".join)
TABLES = st.lists(st.lists(st.text('ab",\n;', max_size=6), min_size=2, max_size=2), max_size=12)


def whole(data: bytes) -> bytes:
    """What the blocks of `data` must add up to."""
    data = data.removeprefix(BOM)
    return (data if data.endswith(b"\n") or not data else data + b"\n").replace(b"\r\n", b"\n")


@given(LINES, st.integers(1, 9), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_blocks_add_up_to_the_file_and_know_their_lines(data, size, bom, quoted):
    given_data = BOM * bom + data
    line = 1
    found = list(blocks(io.BytesIO(given_data), b'"' if quoted else b"", size))
    for block in found:
        assert block.line == line
        assert block.data.endswith(b"\n")
        line += block.lines
    assert b"".join(block.data for block in found) == whole(given_data)


@given(TABLES, st.integers(1, 9), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=200, deadline=None)
def test_no_block_ends_inside_a_quoted_field(rows, size, ending):
    text = io.StringIO()
    csv.writer(text, lineterminator=ending).writerows(rows)
    for block in blocks(io.BytesIO(text.getvalue().encode()), b'"', size):
        assert block.data.count(b'"') % 2 == 0
        assert all(len(record) in (0, 2) for record in csv.reader(io.StringIO(block.data.decode(), newline="")))


def test_what_was_no_whole_record_comes_again_with_the_next_block():
    reader = blocks(io.BytesIO(b"one\ntwo\nthree\nfour\n"), size=9)
    first = next(reader)
    assert (first.data, first.line, first.more) == (b"one\ntwo\n", 1, True)
    second = reader.send(4)
    assert (second.data, second.line) == (b"two\nthree\n", 2)
    third = reader.send(10)
    assert (third.data, third.line) == (b"four\n", 4)


def test_the_last_block_says_that_nothing_is_behind_it():
    assert [block.more for block in blocks(io.BytesIO(b"one\ntwo\nthree"), size=8)] == [True, False]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_line_too_long_is_no_text_and_the_lines_behind_it_are_read(monkeypatch, size):
    monkeypatch.setattr(module, "LONGEST", 20)
    data = b"one\n" + b"x" * 100 + b"\ntwo\nthree\n"
    read = [(block.line + at, line) for block in blocks(io.BytesIO(data), size=size)
            for at, line in enumerate(block.data.split(b"\n")[:-1])]  # fmt: skip
    assert [line for line, text in read if text.startswith(b"x")] == [2]
    if size < 64:  # a block that was read at once is in memory anyway
        assert next(text for line, text in read if line == 2).endswith(b"\0")
    assert [entry for entry in read if entry[0] != 2] == [(1, b"one"), (3, b"two"), (4, b"three")]


def test_a_quote_that_is_open_for_too_long_ends_a_block_all_the_same(monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 20)
    found = list(blocks(io.BytesIO(b'a,"b\n' + b"c\n" * 20), b'"', 4))
    assert b"".join(block.data for block in found) == b'a,"b\n' + b"c\n" * 20
    assert len(found[0].data) < 30
