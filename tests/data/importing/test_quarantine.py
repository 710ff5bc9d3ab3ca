"""Bad rows: each is written down with its place, and too many of them stop an import with one sentence."""

import json

import pytest
from memory_files import memory_file

from trsr.data.importing.quarantine import Quarantine
from trsr.data.importing.rows import faults_frame
from trsr.errors import DataError

FILE = memory_file(b"", "data/events.csv")


def faults(count, reason="no user"):
    return faults_frame([(line + 2, reason, f"row {line}") for line in range(count)])


@pytest.mark.parametrize(
    ("bad", "rows", "share", "stops"),
    [
        (5, 100, 0.05, False), (6, 100, 0.05, True), (29, 100, 0.29, False), (30, 100, 0.29, True),
        (57, 100, 0.57, False), (1, 3, 1 / 3, False), (0, 0, 0.0, False), (1, 1000, 0.0, True), (7, 7, 1.0, False),
        (1, 0, 1.0, True),
    ],
)  # fmt: skip
def test_the_share_itself_is_borne_and_one_row_more_is_not(tmp_path, bad, rows, share, stops):
    with Quarantine(tmp_path / "q.jsonl", share) as quarantine:
        quarantine.add(FILE, faults(bad))
        if stops:
            with pytest.raises(DataError, match=f"{bad} of {rows:,} rows are bad"):
                quarantine.end_of_file(FILE, rows)
        else:
            assert quarantine.end_of_file(FILE, rows) == bad


def test_the_sentence_names_the_first_and_the_most_frequent(tmp_path):
    with Quarantine(tmp_path / "q.jsonl", 0.1) as quarantine:
        quarantine.add(FILE, faults(1, "too short"))
        quarantine.add(FILE, faults(3, "no user"))
        with pytest.raises(DataError) as raised:
            quarantine.end_of_file(FILE, 10)
    assert str(raised.value) == (
        "data/events.csv: 4 of 10 rows are bad, over 10.0%; first line 2: too short; "
        "most often no user (3); mend them, name another format or raise --max-bad"
    )


def test_each_bad_row_is_a_line_of_json(tmp_path):
    with Quarantine(tmp_path / "q.jsonl", 1.0) as quarantine:
        quarantine.add(FILE, faults_frame([(7, "odd “quotes”", 'a,"b"\n\x1b'), (9, "no user", "")]))
    assert [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()] == [
        {"file": "data/events.csv", "line": 7, "reason": "odd “quotes”", "content": 'a,"b"\n\x1b'},
        {"file": "data/events.csv", "line": 9, "reason": "no user", "content": ""},
    ]


def test_every_file_is_counted_for_itself(tmp_path):
    with Quarantine(tmp_path / "q.jsonl", 0.5) as quarantine:
        quarantine.add(FILE, faults(5))
        assert quarantine.end_of_file(FILE, 10) == 5
        quarantine.add(FILE, faults(1))
        assert quarantine.end_of_file(FILE, 10) == 1
    assert quarantine.rows == 6


def test_without_bad_rows_there_is_no_file(tmp_path):
    with Quarantine(tmp_path / "q.jsonl", 0.5) as quarantine:
        quarantine.add(FILE, faults(0))
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_a_file_that_is_no_text_can_be_written(tmp_path):
    with Quarantine(tmp_path / "q.jsonl", 1.0) as quarantine:
        quarantine.add(memory_file(b"", "a\udcff.csv"), faults(1))
    assert "a\\udcff.csv" in (tmp_path / "q.jsonl").read_text(encoding="utf-8")
