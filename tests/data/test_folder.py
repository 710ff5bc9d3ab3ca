"""A folder that is opened without reading it; if these fail, a person is shown other data than a run would read."""

import polars as pl
import pytest
from small_data import make_events, make_items

from trsr.data.folder import DatasetFolder
from trsr.errors import DataError

ITEMS = make_items("a", "b", "c")
EVENTS = make_events(("u", "c", 5), ("v", "a", 1), ("u", "a", 2), ("u", "b", 2))


@pytest.fixture
def folder(tmp_path):
    ITEMS.write_parquet(tmp_path / "items.parquet")
    EVENTS.write_parquet(tmp_path / "interactions.parquet")
    return tmp_path


def test_it_tells_sizes_and_attributes(folder):
    opened = DatasetFolder.open(folder)
    assert (opened.items, opened.events, opened.impressions) == (ITEMS.height, EVENTS.height, 0)
    assert opened.attributes == tuple(name for name in ITEMS.columns if name != "item_id")
    assert opened.info == {}


def test_what_an_import_wrote_is_told_too(folder):
    pl.DataFrame({"example_id": ["1", "2"]}).write_parquet(folder / "impressions.parquet")
    (folder / "import.json").write_text('{"format": "mind"}', encoding="utf-8")
    opened = DatasetFolder.open(folder)
    assert (opened.impressions, opened.info) == (2, {"format": "mind"})


@pytest.mark.parametrize("text", ["[1]", '{"format": "mi'])
def test_another_file_of_that_name_is_named(folder, text):
    (folder / "import.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"import\.json: not what trsr data import writes"):
        DatasetFolder.open(folder)


def test_one_item_and_one_history_are_read(folder):
    opened = DatasetFolder.open(folder)
    for row in ITEMS.iter_rows(named=True):
        assert opened.item(row["item_id"]) == row
    for user in EVENTS["user_id"].unique():
        expected = EVENTS.filter(pl.col("user_id") == user).sort("timestamp", maintain_order=True)
        assert opened.history(user).equals(expected)
    with pytest.raises(DataError, match="no item has the id 'nobody'"):
        opened.item("nobody")
    with pytest.raises(DataError, match="user 'nobody' has no events"):
        opened.history("nobody")


def test_texts_of_unknown_items_are_left_out(folder):
    known = ITEMS["item_id"][0]
    assert list(DatasetFolder.open(folder).texts([known, "nothing", known])) == [known]


def test_ids_that_are_whole_numbers_are_found_by_their_text(folder):
    pl.DataFrame({"item_id": [7], "title": ["Seven"]}).write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": [1], "item_id": [7], "position": [0]}).write_parquet(folder / "interactions.parquet")
    opened = DatasetFolder.open(folder)
    assert opened.item("7")["title"] == "Seven"
    assert opened.texts(opened.history("1")["item_id"].cast(pl.String).to_list())["7"]["title"] == "Seven"


def test_position_orders_where_a_time_is_missing(folder):
    events = pl.DataFrame(
        {"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": [None, 5, 1], "position": [1, 2, 0]}
    )
    events.write_parquet(folder / "interactions.parquet")
    assert DatasetFolder.open(folder).history("u")["item_id"].to_list() == ["c", "a", "b"]


def test_a_column_or_file_that_is_missing_is_named(folder):
    ITEMS.rename({"item_id": "id"}).write_parquet(folder / "items.parquet")
    with pytest.raises(DataError, match="column item_id is missing"):
        DatasetFolder.open(folder)
    (folder / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet: no such file"):
        DatasetFolder.open(folder)


def test_events_that_nothing_orders_stay_as_in_the_file(folder):
    EVENTS.select("user_id", "item_id").write_parquet(folder / "interactions.parquet")
    assert DatasetFolder.open(folder).history("u")["item_id"].to_list() == ["c", "a", "b"]


def test_a_path_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        DatasetFolder.open(tmp_path / ("n" * 300))
