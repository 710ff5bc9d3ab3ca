"""Lines of JSON and of Python literals: what is written is read, and a bad line costs itself alone."""

import ast
import json
import math

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_files import lines_of, read, shrink_blocks

from trsr.data.importing.jsoncolumns import JsonColumns
from trsr.data.importing.jsonlines import (
    BadRowError,
    JsonLines,
    first_record,
    optional_number,
    optional_text,
    optional_texts,
    required_text,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=10) | st.sampled_from(
    ["it's", '"', "\\", "\\n", "\n", "\t", "True", "None, 'x'", "u'a'", "\x00", "\x7f", "\u2028", "{", "é\\'"]
)
SCALAR = (
    TEXT | st.integers(-(2**60), 2**60) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["id", "title", "tags", "price"]), SCALAR | st.lists(SCALAR, max_size=3)),
    max_size=8,
)


def as_written(literals: bool = False) -> JsonLines:
    """Records whole, as JSON again."""
    return JsonLines(lambda record: {"all": json.dumps(record)}, {"all": pl.String}, literals)


@given(RECORDS, st.integers(1, 50), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_record_comes_back_with_its_line(records, size, ending, ascii_only):
    data = "".join(json.dumps(record, ensure_ascii=ascii_only) + ending for record in records).encode()
    with pytest.MonkeyPatch.context() as patch:
        shrink_blocks(patch, size)
        rows, faults = read(as_written(), data)
    assert faults == []
    assert [(line, json.loads(record)) for line, record in rows] == list(enumerate(records, 1))


@given(RECORDS)
@example([{"title": 'it\'s "so"'}])
@example([{"title": "\ud7ff\\'\\\\'"}])
@settings(max_examples=150, deadline=None)
def test_python_literals_are_read_as_python_reads_them(records):
    data = "".join(repr(record) + "\n" for record in records).encode()
    rows, faults = read(as_written(literals=True), data)
    assert faults == []
    assert [json.loads(record) for _, record in rows] == [ast.literal_eval(repr(record)) for record in records]


@pytest.mark.parametrize("literals", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        b'{"id": 1',
        b"[1]",
        b'"id"',
        b"null",
        b"\xff\xfe",
        b"{'id': __import__('os')}",
        b'{"id": "\xc3"}',
        b"[" * 100_000,
        b'{"id": ' * 100_000,
        b'{"id": ' + b"9" * 5_000 + b"}",
        b"-" * 100_000 + b"1",
        b"{1: {2}}",
        b"{'a': 'b' 'c', 'd'}",
    ],
    ids=lambda bad: bad[:12].decode(errors="replace"),
)
def test_a_line_that_is_no_object_is_a_fault_and_its_neighbours_stay(bad, literals):
    form = JsonLines(lambda record: {"id": required_text(record, "id")}, {"id": pl.String}, literals)
    rows, faults = read(form, b'{"id": "a"}\n\n' + bad + b'\n{"id": "b"}')
    assert rows == [(1, "a"), (4, "b")]
    assert lines_of(faults) == [3]


def test_deep_lists_are_a_fault_and_no_crash():
    form = JsonLines(lambda record: {"tags": optional_texts(record, "tags")}, {"tags": pl.List(pl.String)})
    deep = b'{"tags": ' + b"[" * 900 + b'"x"' + b"]" * 900 + b"}"
    rows, faults = read(form, b'{"tags": ["a"]}\n' + deep + b"\n")
    assert [values for values in rows if values[0] == 1] == [(1, ["a"])]
    assert lines_of(faults) in ([], [2])


def test_half_a_surrogate_pair_is_a_question_mark():
    form = JsonLines(lambda record: record, {"title": pl.String, "tags": pl.List(pl.String)})
    rows, faults = read(form, rb'{"title": "a\ud83db", "tags": ["\udc00", "\ud83d\ude00"]}')
    assert (rows, faults) == ([(1, "a?b", ["?", "😀"])], [])


def test_a_number_too_large_for_its_column_is_a_fault_of_its_line():
    form = JsonLines(lambda record: record, {"time": pl.Int64, "rating": pl.Float64})
    lines = [{"time": 1, "rating": 2.5}, {"time": 10**30}, {"time": 3}, {"rating": 10**400}, {"time": -(2**63)}]
    rows, faults = read(form, "\n".join(map(json.dumps, lines)).encode())
    assert rows == [(1, 1, 2.5), (3, 3, None), (5, -(2**63), None)]
    assert lines_of(faults) == [2, 4]


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("4.5", 4.5), (" 2 ", 2.0), (None, None), ("", None), (math.nan, None), ("nan", None), (0, 0.0)],
)
def test_numbers_and_texts_of_numbers(value, number):
    assert optional_number({"x": value}, "x") == number


@pytest.mark.parametrize("value", ["three", [1], True, {}, math.inf, "inf", "-Infinity", 10**400, "1_000", "1e999"])
def test_what_is_no_number_is_said_to_be_none(value):
    with pytest.raises(BadRowError, match="x is no number"):
        optional_number({"x": value}, "x")


def test_texts_of_records():
    record = {"id": 7, "name": " a ", "flag": True, "none": None, "list": ["a", 1, ["b", ""], None, ""], "one": "x"}
    assert required_text(record, "id") == "7"
    assert required_text(record, "name") == "a"
    assert optional_text(record, "id") == "7"
    assert optional_text(record, "none") is None
    assert optional_texts(record, "list") == ["a", "1", "b"]
    assert optional_texts(record, "one") == ["x"]
    for name in ("flag", "none", "list", "absent"):
        with pytest.raises(BadRowError, match=f"{name} is missing"):
            required_text(record, name)
    with pytest.raises(BadRowError):
        required_text({"id": int("0x" + "f" * 5_000, 16)}, "id")


def test_the_first_record_is_found_behind_lines_that_are_none():
    from memory_files import memory_file

    assert first_record(memory_file(b"\xef\xbb\xbf\n\n{'asin': 'B1'}\n")) == {"asin": "B1"}
    assert first_record(memory_file(b"a,b\n1,2\n")) == {}


FIELDS = {"id": pl.String, "stars": pl.Float64, "day": pl.Int64}
VALUES = TEXT | st.integers(-10, 10) | st.sampled_from(
    [5.0, 2.5, "5.0", "7", "-", True, None, [], {}, ["a"], {"a": 1}, 2**53, 2**63, -(2**70), "1e3", " 4", "", "nan"]
)  # fmt: skip


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*FIELDS, "other"]), VALUES, max_size=4).map(json.dumps)
        | st.sampled_from(["", "{}", "[]", "x", '{"id": "a"} {"id": "b"}', '{"id": 1.50}', '{"id": NaN}',
                           '{"id":"\\ud83d"}', ' {"id": "a"}', '{"day": 1.0}', '{"id": 1e5}',
                           '{"stars": 1e999}', '{"id": 10000000000000000000000}']),
        max_size=6,
    ),
    st.integers(1, 60),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_line_is_read_differently_by_the_quick_way(lines, size):
    data = "\n".join(lines).encode()
    form = JsonColumns(FIELDS)
    one_block = read(form, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonColumns, "_fast", lambda *_: None)
        careful = read(form, data)
    assert careful == one_block
