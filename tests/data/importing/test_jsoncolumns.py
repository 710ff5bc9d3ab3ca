import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_files import read

from trsr.data.importing.jsoncolumns import JsonColumns
from trsr.data.importing.jsonlines import JsonLines, optional_text

FORM = JsonColumns({"id": pl.String, "stars": pl.Float64, "time": pl.Int64})
GOOD = [
    ('{"id": "a", "stars": 4, "time": 7, "other": {"x": [1]}}', ("a", 4.0, 7)),
    ('{"time": 7, "id": null}', (None, None, 7)),
    ('{"id": 12, "stars": 4.5}', ("12", 4.5, None)),
    ('{"id": "\\ud83d\\ude00", "text": "[x] {y} \\u0000"}', ("\U0001f600", None, None)),
    ('{"id": "x\\ny \\"q\\""}', ('x\ny "q"', None, None)),
    ("{}", (None, None, None)),
]
ODD = [  # rows, or the reason of the fault
    ('{"id": "a", "stars": "4.5", "time": "7"}', ("a", 4.5, 7)),
    ('{"id": "b", "time": 7.0}', ("b", None, 7)),
    ('{"id": "half \\ud83d."}', ("half ?.", None, None)),
    ('{"id": ["a"]}', "id is no text"),
    ('{"id": true}', "id is no text"),
    ('{"id": {"x": 1}}', "id is no text"),
    ('{"id": "a", "time": 7.5}', "time is no whole number"),
    ('{"id": "a", "time": 123456789012345678901}', "time is no whole number"),
    ('{"id": "a", "stars": "many"}', "stars is no number"),
    ('{"id": "a"} {"id": "b"}', "not an object of JSON"),
    ('{"id": "a"', "not an object of JSON"),
    ("[1]", "not an object of JSON"),
]


@pytest.mark.parametrize("odd", range(len(ODD)))
def test_one_odd_line_changes_no_other(odd):
    lines, results = zip(*GOOD[:3], ODD[odd], *GOOD[3:], strict=True)
    rows, faults = read(FORM, "\n".join(lines).encode())
    assert rows == [(line, *row) for line, row in enumerate(results, 1) if not isinstance(row, str)]
    assert faults == [(line, reason) for line, reason in enumerate(results, 1) if isinstance(reason, str)]


def test_blank_lines_count_as_lines_and_are_no_rows():
    rows, faults = read(FORM, b'{"id": "a"}\n\n  \n{"id": "b"}')
    assert ([(row[0], row[1]) for row in rows], faults) == ([(1, "a"), (4, "b")], [])


TEXTS = st.text("ab'\"\\\nx\té{}[]:,TrueNone\U0001f600", max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_a_literal_says_what_python_says_it_does(record):
    seen = []
    form = JsonLines(lambda found: seen.append(found) or {}, {"id": pl.String}, literals=True)
    read(form, f"{record!r}\n{record!a}\n{json.dumps(record)}\n".encode())
    assert seen == [record] * 3


@pytest.mark.parametrize("text", [r"{'id': '\x'}", "{'id': unknown}", "{'id': 'open", "{'id': __import__('os')}"])
def test_what_is_no_literal_is_a_fault(text):
    form = JsonLines(lambda record: {"id": optional_text(record, "id")}, {"id": pl.String}, literals=True)
    assert read(form, text.encode()) == ([], [(1, "not an object of JSON")])
