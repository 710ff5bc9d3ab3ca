"""A dataset folder imported again: filters are applied, and nothing else is lost."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from whole_imports import dataset_folder, imported, quarantined, recognised

from trsr.errors import DataError

ITEMS = pl.DataFrame(
    {
        "item_id": [10, 20, 20],
        "title": ["One", "Two &amp; more", "Two &amp; more"],
        "year": pl.Series([1999, None, None], dtype=pl.Int16),
        "genres": [["Drama", "War"], [], []],
        "price": [1.25, 2.0, 2.0],
        "released": [date(1999, 3, 31), None, None],
        "new": [True, False, False],
    }
)


def write(folder, items, interactions, impressions=None):
    folder.mkdir()
    items.write_parquet(folder / "items.parquet")
    interactions.write_parquet(folder / "interactions.parquet")
    if impressions is not None:
        impressions.write_parquet(folder / "impressions.parquet")
    return folder


def test_types_of_attributes_are_kept_and_filters_applied(tmp_path):
    interactions = pl.DataFrame(
        {
            "user_id": ["u", "u", "v", "v"],
            "item_id": [10, 20, 10, 99],
            "timestamp": [5, 6, 7, 8],
            "position": [0, 1, 0, 1],
            "rating": [4.0, 2.0, None, 5.0],
            "weight": [1, 1, 2, 1],
            "device": ["x", "x", "x", "x"],
        }
    )
    source = write(tmp_path / "raw", ITEMS, interactions)
    items, events, report = imported("auto", source, tmp_path, filters={"min_rating": 3})
    assert report.format == "trsr"
    assert items.schema == {**ITEMS.schema, "item_id": pl.String}
    assert items.to_dicts() == [
        {**ITEMS.row(0, named=True), "item_id": "10"},
        {**ITEMS.row(1, named=True), "item_id": "20", "title": "Two & more", "genres": None},
    ]
    assert events.to_dicts() == [
        {"user_id": "u", "item_id": "10", "timestamp": 5, "position": 0, "rating": 4.0, "weight": 1.0}
    ]
    assert report.item_copies == 1
    assert report.removed == {"of unknown items": 1, "rated below 3 or not rated": 2}
    assert report.notes == [
        "columns of interactions that are not read: device",
        "1 of 4 events name items that the source does not describe: are items and events of one release?",
    ]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([date(1970, 1, 2), date(1970, 1, 3)], [86400, 172800]),
        ([datetime(1970, 1, 1, 0, 0, 5), datetime(1970, 1, 1, 0, 0, 5, 250_000)], [5.0, 5.25]),
        ([datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), None], [5, None]),
        ([5.5, 6.0], [5.5, 6.0]),
    ],
)
def test_times_of_every_kind_become_seconds(tmp_path, times, expected):
    interactions = pl.DataFrame(
        {"user_id": ["u", "u"], "item_id": ["10", "20"], "timestamp": times, "position": [0, 1]}
    )
    _, events, _ = imported("trsr", write(tmp_path / "raw", ITEMS, interactions), tmp_path)
    assert events["timestamp"].to_list() == expected


def test_impressions_are_copied_as_they_are(tmp_path):
    impressions = pl.DataFrame(
        {
            "example_id": ["test-1"],
            "user_id": ["u"],
            "timestamp": [9],
            "split": ["test"],
            "shown": [["10", "20"]],
            "clicked": [["20"]],
        }
    )
    interactions = pl.DataFrame({"user_id": ["u"], "item_id": ["10"], "position": [3]})
    _, events, report = imported("trsr", write(tmp_path / "raw", ITEMS, interactions, impressions), tmp_path)
    assert events.rows() == [("u", "10", 3)]
    assert report.impressions == 1
    assert pl.read_parquet(tmp_path / "made" / "impressions.parquet").equals(impressions)


def test_rows_that_are_none_are_set_aside(tmp_path):
    items = pl.DataFrame({"item_id": ["1", " ", "1"], "title": ["A", "B", "C"]})
    interactions = pl.DataFrame(
        {"user_id": ["u", None, "u", "u"], "item_id": ["1", "1", "1", "1"], "timestamp": [1, 2, None, 10**12]}
    )
    _, events, _ = imported("trsr", write(tmp_path / "raw", items, interactions), tmp_path, max_bad=0.8)
    assert events.rows() == [("u", "1", 1)]
    assert quarantined(tmp_path) == [
        ("interactions.parquet", 2, "no user"),
        ("interactions.parquet", 3, "neither a time nor a position"),
        ("interactions.parquet", 4, "a time beyond the year 9999; where it is in milliseconds, set time_unit: ms"),
        ("items.parquet", 2, "no item"),
        ("items.parquet", 3, "item 1 is described otherwise further up"),
    ]


def test_interactions_without_any_order_are_refused(tmp_path):
    interactions = pl.DataFrame({"user_id": ["u"], "item_id": ["10"]})
    with pytest.raises(DataError, match="neither timestamp nor position"):
        imported("trsr", write(tmp_path / "raw", ITEMS, interactions), tmp_path)


def test_a_second_import_of_an_import_changes_nothing(tmp_path):
    source = dataset_folder(tmp_path / "raw")
    first = imported("trsr", source, tmp_path / "first")
    second = imported("trsr", tmp_path / "first" / "made", tmp_path / "second")
    assert first[0].equals(second[0])
    assert first[1].equals(second[1])


def test_its_own_layout_is_recognised_and_no_other(tmp_path):
    assert recognised("trsr", tmp_path) == {"trsr"}


def test_the_true_folder_of_movies(shared, tmp_path):
    source = shared / "data" / "movielens_small3"
    items, events, report = imported("auto", source, tmp_path)
    assert (report.format, report.bad, items.height, events.height) == ("trsr", 0, 13004, 297873)
    assert items.schema == pl.read_parquet_schema(source / "items.parquet")
    assert events["timestamp"].equals(pl.read_parquet(source / "interactions.parquet")["timestamp"])
