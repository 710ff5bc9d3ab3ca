import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trsr.data.forgetting import count_events, forget_events
from trsr.errors import DataError

EVENTS = pl.DataFrame(
    {
        "user_id": ["u2", "u1", "u10", "u1", None],
        "item_id": ["a", "b", "c", "d", "e"],
        "timestamp": [5, 4, 3, 2, 1],
        "note": ["x", "a secret of theirs", "y", "another secret", "z"],
    }
)


@pytest.fixture
def folder(tmp_path):
    EVENTS.write_parquet(tmp_path / "interactions.parquet")
    return tmp_path


def test_a_users_events_go_and_all_others_stay_as_they_are(folder):
    assert forget_events(folder, "u1") == 2
    left = pl.read_parquet(folder / "interactions.parquet")
    assert_frame_equal(left, EVENTS[[0, 2, 4]])
    assert b"secret" not in (folder / "interactions.parquet").read_bytes()
    assert [file.name for file in folder.iterdir()] == ["interactions.parquet"]


def test_integer_ids_are_told_by_their_digits(folder):
    pl.DataFrame({"user_id": [1, 10, 1], "item_id": ["a", "b", "c"]}).write_parquet(folder / "interactions.parquet")
    assert forget_events(folder, "1") == 2
    assert pl.read_parquet(folder / "interactions.parquet").rows() == [(10, "b")]


def test_users_go_one_by_one_and_rows_without_a_user_stay(folder):
    for user in ("u1", "u2", "u10"):
        forget_events(folder, user)
    assert pl.read_parquet(folder / "interactions.parquet").rows() == [(None, "e", 1, "z")]


@pytest.mark.parametrize("user", ["nobody", "u", "U1", ""])
def test_of_an_unknown_user_there_is_nothing_and_the_file_stays(folder, user):
    path = folder / "interactions.parquet"
    before = path.read_bytes()
    assert count_events(folder, user) == forget_events(folder, user) == 0
    assert path.read_bytes() == before


def test_a_table_without_users_is_an_error(tmp_path):
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match="no column user_id"):
        forget_events(tmp_path, "u1")


def test_a_folder_without_events_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        forget_events(tmp_path, "u1")
