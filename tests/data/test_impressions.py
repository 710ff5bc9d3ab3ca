"""Impressions as candidates; if these fail, a ranking is measured against clicks that nobody made."""

import polars as pl
import pytest

from trsr.data.candidates import check_candidates
from trsr.data.impressions import impression_candidates
from trsr.errors import DataError

ROWS = [
    ("train-1", "u1", "train", ["a", "b", "c"], ["b"]),
    ("train-2", "u1", "train", ["a", "d", "a"], ["d", "d"]),
    ("train-3", "u2", "train", ["a", "b"], []),
    ("train-4", "u2", "train", ["a"], ["a"]),
    ("dev-1", "u2", "dev", ["c", "a"], ["c"]),
    ("test-1", "u3", "test", ["a", "b"], None),
]
COLUMNS = ["example_id", "user_id", "split", "shown", "clicked"]


@pytest.fixture
def folder(tmp_path):
    pl.DataFrame(ROWS, schema=COLUMNS, orient="row").write_parquet(tmp_path / "impressions.parquet")
    return tmp_path


def test_what_was_clicked_is_the_target_among_what_was_shown(folder):
    frame = impression_candidates(folder)
    assert frame.rows() == [
        ("train-1", "u1", "a", 0, "impression"),
        ("train-1", "u1", "b", 1, "target"),
        ("train-1", "u1", "c", 0, "impression"),
        ("train-2", "u1", "a", 0, "impression"),
        ("train-2", "u1", "d", 1, "target"),
        ("dev-1", "u2", "c", 1, "target"),
        ("dev-1", "u2", "a", 0, "impression"),
    ]
    check_candidates(frame, "impressions")


def test_one_split_can_be_taken(folder):
    assert set(impression_candidates(folder, "dev")["example_id"]) == {"dev-1"}
    with pytest.raises(DataError, match="no impression of test has a click"):
        impression_candidates(folder, "test")


def test_a_draw_is_the_same_for_a_seed_and_takes_whole_impressions(folder):
    drawn = [impression_candidates(folder, most=1, seed=seed) for seed in range(20)]
    assert {tuple(frame["example_id"].unique()) for frame in drawn} == {("train-1",), ("train-2",), ("dev-1",)}
    assert drawn[3].equals(impression_candidates(folder, most=1, seed=3))
    assert {frame.height for frame in drawn} <= {2, 3}


def test_a_folder_without_impressions_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no impressions\.parquet; import a data set that has impressions"):
        impression_candidates(tmp_path)
