"""Delimited text: every row as it was written, each bad one named by its line, the quick way like the careful one."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_files import lines_of, memory_file, read, shrink_blocks

from trsr.data.importing.delimited import Delimited
from trsr.errors import DataError

CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=12) | st.sampled_from(
    ["", '"', '""', ",", "\n", "a\nb\n", ' "', "\t", " ", "''", '5" x 7"', "x" * 300, "\u2028", "\ufeff"]
)
NAMES = ("one", "two", "three")


def tables(width: int):
    return st.lists(st.tuples(*[CELL] * width), max_size=12)


def written(rows, ending="\n", **form) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=ending, **form).writerows(rows)
    return text.getvalue().encode()


def expected(rows) -> list[tuple]:
    """Rows with the line at which each begins: one more than all line feeds before it."""
    line, found = 1, []
    for row in rows:
        found.append((line, *(value or None for value in row)))
        line += 1 + sum(value.count("\n") for value in row)
    return found


def both_ways(form: Delimited, data: bytes, size: int):
    """Rows and faults, which are the same in small blocks and in a large one, the quick way and the careful one."""
    results = []
    for blocks, fast in ((size, True), (2**20, True), (2**20, False), (size, False)):
        with pytest.MonkeyPatch.context() as patch:
            shrink_blocks(patch, blocks)
            if not fast:
                patch.setattr(Delimited, "_fast", lambda *_: None)
            results.append(read(form, data))
    assert results[0] == results[1] == results[2] == results[3]
    return results[0]


@given(st.integers(1, 3).flatmap(tables), st.integers(1, 40), st.booleans(), st.sampled_from(["\n", "\r\n"]))
@example([("", "", "\t")], 5, False, "\n")
@example([("a", '""')], 5, False, "\n")
@settings(max_examples=60, deadline=None)
def test_any_table_that_csv_writes_comes_back(rows, size, bom, ending):
    width = len(rows[0]) if rows else 2
    if width == 1:  # a row of white space alone is a blank line
        rows = [row for row in rows if row[0].strip(" \t")]
    names = NAMES[:width]
    data = b"\xef\xbb\xbf" * bom + written([names, *rows], ending)
    found, faults = both_ways(Delimited(names), data, size)
    assert faults == []
    assert found == [(line + 1, *values) for line, *values in expected(rows)]


@given(st.lists(st.text('ab,"\n\r ', max_size=8), max_size=10), st.integers(1, 20))
@settings(max_examples=120, deadline=None)
def test_no_text_is_read_differently_by_the_quick_way(lines, size):
    both_ways(Delimited(("one", "two"), ("one", "two")), "\n".join(lines).encode(), size)


@given(st.lists(st.sampled_from([b"a", b"\t", b"\n", b"\r", b'"', b" ", b"\xff", b"\0", b"::", b":"]), max_size=25),
       st.integers(1, 9), st.sampled_from(["\t", "::"]), st.integers(1, 3))  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_without_quotes_the_ways_are_the_same_too(parts, size, separator, width):
    both_ways(Delimited(NAMES[:width], NAMES[:width], separator=separator, quoted=False), b"".join(parts), size)


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r\n\t"),
                                    min_size=1, max_size=9)] * 2), max_size=9),
       st.integers(1, 30), st.sampled_from(["\n", "\r\n"]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_without_quoting_every_character_is_itself(rows, size, ending):
    data = "".join("\t".join(row) + ending for row in rows).encode()
    found, faults = both_ways(Delimited(("a", "b"), ("a", "b"), separator="\t", quoted=False), data, size)
    if data.startswith(b"\xef\xbb\xbf"):
        found = [(1, *rows[0]), *found[1:]]  # what looks like a byte order mark is one
    assert (found, faults) == ([(line, *row) for line, row in enumerate(rows, 1)], [])


def test_two_colons_part_the_fields_of_movielens():
    data = "1::Toy Story (1995)::Animation|Children's\n2::Se7en: a\ttale::Crime\n3::Amélie::Comedy".encode("latin-1")
    form = Delimited(NAMES, NAMES, separator="::", quoted=False, encoding="latin-1")
    rows, faults = both_ways(form, data, 5)
    assert rows == [
        (1, "1", "Toy Story (1995)", "Animation|Children's"),
        (2, "2", "Se7en: a\ttale", "Crime"),
        (3, "3", "Amélie", "Comedy"),
    ]
    assert faults == []


def test_bad_rows_are_named_by_line_and_their_neighbours_stay():
    data = (
        b"id,text\n1,one\n2,two,too\n\n4,\xff\n5\n6,six\n7,a\0b\n"
        b'8,"eight\nand more"\n10,"ten" is "quoted"\n11,eleven\n12,a "word" in it\n13,half a " quote\n14,last'
    )
    for size in (3, 20, 2**20):
        rows, faults = both_ways(Delimited(("id", "text")), data, size)
        assert rows == [
            (2, "1", "one"),
            (7, "6", "six"),
            (9, "8", "eight\nand more"),
            (12, "11", "eleven"),
            (13, "12", 'a "word" in it'),
            (15, "14", "last"),
        ]
        assert faults == [
            (3, "3 fields where 2 belong"),
            (5, "not text in the file's encoding"),
            (6, "1 fields where 2 belong"),
            (8, "a NUL character in it"),
            (11, "a quote inside a field that is not written twice"),
            (14, "a quote that is never closed"),
        ]


@pytest.mark.parametrize("size", [1, 7, 30, 64, 200])
@pytest.mark.parametrize("stray", ['0,ha"lf', '0,"half'])
def test_a_quote_too_many_costs_its_own_line_alone(size, stray):
    """Whatever block it is in, and however many fields behind it go over several lines."""
    rows = [(str(number), f"first line\nsecond, {number}") for number in range(1, 30)]
    data = b"id,text\n" + stray.encode() + b"\n" + written(rows)
    found, faults = both_ways(Delimited(("id", "text")), data, size)
    assert lines_of(faults) == [2]
    assert [values[1:] for values in found] == rows
    assert [values[0] for values in found] == list(range(3, 61, 2))


def test_short_and_long_rows_that_make_up_for_each_other_are_both_found():
    form = Delimited(("one", "three"), NAMES, separator="\t", quoted=False)
    _, faults = both_ways(form, b"1\t2\t3\n1\t2\n1\t2\t3\t4\n", 100)
    assert lines_of(faults) == [2, 3]
    _, faults = both_ways(Delimited(("one",), NAMES), b"1,2,3\n1,2\n1,2,3,4\n", 100)
    assert lines_of(faults) == [2, 3]


def test_columns_are_taken_by_name_in_the_order_that_is_wanted():
    data = b"line,year,title,id\nx,1999,Seven,7\n"
    assert both_ways(Delimited(("id", "title", "brand"), optional=("brand",)), data, 9)[0] == [(2, "7", "Seven", None)]


def test_a_header_over_two_lines_and_blank_lines_before_it():
    rows, _ = both_ways(Delimited(("id", "the\ntext")), b'\n\nid,"the\ntext"\n1,one\n', 3)
    assert rows == [(5, "1", "one")]


def test_a_header_alone_is_no_row():
    assert both_ways(Delimited(("id",)), b"id,text", 4) == ([], [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"number,text\n1,2\n", "line 1: column id is missing (columns: number, text)"),
        (b"id,text,text\n1,2,3\n", "line 1: a name of a column is there twice"),
        (b"id,\xff\nid,text\n", "line 1: no names of columns (not text"),
        (b'id,"text\nid,text\n', "line 1: no names of columns (a quote"),
        ("id,text\n1,2\n".encode("utf-16"), "line 1: no names of columns"),
    ],
)
def test_a_first_row_that_is_no_header_is_one_sentence(data, words):
    with pytest.raises(DataError) as raised:
        list(Delimited(("id", "text")).read(memory_file(data)))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_carriage_return_alone_is_a_character():
    rows, faults = both_ways(Delimited(("a", "b"), ("a", "b")), b'1,x\ry\n2,"x\ry,"\n3,"x\n""\ry"', 5)
    assert rows == [(1, "1", "x\ry"), (2, "2", "x\ry,"), (3, "3", 'x\n"\ry')]
    assert faults == []


def test_an_encoding_of_two_bytes_a_character():
    data = 'id,text\n1,表示\n2,"ソ, 十"\n'.encode("shift_jis")
    rows, faults = both_ways(Delimited(("id", "text"), encoding="shift_jis"), data, 6)
    assert (rows, faults) == ([(2, "1", "表示"), (3, "2", "ソ, 十")], [])
