import json
import re
from datetime import UTC, datetime

import polars as pl
import pytest
from small_data import CONFIG, load, make_events, make_items

from trsr.data.dataset import Dataset
from trsr.errors import ConfigError, DataError

ITEMS = make_items("a", "b", "c")
EVENTS = make_events(("u", "b", 20), ("u", "a", 10), ("v", "c", 5), ("v", "a", 30), ("w", "b", 1))


def refused(items, events, error=DataError, **settings):
    with pytest.raises(error) as caught:
        load(items, events, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_folder(folder, items=ITEMS, events=EVENTS):
    items.write_parquet(folder / "items.parquet")
    events.write_parquet(folder / "interactions.parquet")
    return folder


def test_histories_follow_time():
    dataset = load(ITEMS, EVENTS)
    assert dataset.histories() == {"u": ["a", "b"], "v": ["c", "a"], "w": ["b"]}
    assert dataset.history("v") == ["c", "a"]
    assert dataset.interactions.columns == ["user_id", "item_id", "order", "timestamp"]
    assert dataset.interactions["order"].to_list() == [0, 1, 0, 1, 0]
    assert dataset.has_time
    assert (dataset.report.users, dataset.report.events, dataset.report.items) == (3, 5, 3)
    assert dataset.report.single_event_users == 1


def test_unknown_user_is_a_data_error():
    with pytest.raises(DataError, match="user 'x' has no events"):
        load(ITEMS, EVENTS).history("x")


def test_folder_reads_like_frames(tmp_path):
    dataset = Dataset.from_folder(write_folder(tmp_path), CONFIG, seed=7)
    assert dataset.name == tmp_path.name
    assert dataset.fingerprint == load(ITEMS, EVENTS).fingerprint


def test_fingerprint_ignores_row_order_and_sees_content():
    dataset = load(ITEMS, EVENTS)
    assert load(ITEMS.reverse(), EVENTS.sample(fraction=1, shuffle=True, seed=1)).fingerprint == dataset.fingerprint
    other_text = ITEMS.with_columns(pl.col("title") + "!")
    other_time = EVENTS.with_columns(pl.col("timestamp") + 1)
    other_name = ITEMS.rename({"title": "name"})
    prints = {load(*pair).fingerprint for pair in [(other_text, EVENTS), (ITEMS, other_time), (other_name, EVENTS)]}
    assert len(prints | {dataset.fingerprint}) == 4


@pytest.mark.parametrize("missing", ["", None])
def test_fingerprint_tells_empty_from_absent(missing):
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", missing, "C"]})
    spaced = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", " ", "C"]})
    assert load(items, EVENTS).fingerprint != load(spaced, EVENTS).fingerprint


def test_attributes_keep_their_order_or_are_chosen():
    items = ITEMS.with_columns(brand=pl.lit("B"), year=pl.lit(1999))
    assert load(items, EVENTS).attributes == ("title", "brand", "year")
    chosen = load(items, EVENTS, attributes=["year", "title"])
    assert chosen.attributes == ("year", "title")
    assert chosen.items.columns == ["item_id", "year", "title"]
    message = refused(items, EVENTS, ConfigError, attributes=["titel"])
    assert message == "data.attributes: shop items has no column 'titel'; known: title, brand, year"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_become_seconds_and_keep_finer_order(unit):
    moments = [datetime(2024, 1, 1, 0, 0, 0, micro, tzinfo=UTC) for micro in (3000, 1000, 2000)]
    events = make_events(*(("u", item, when) for item, when in zip("abc", moments, strict=True)))
    dataset = load(ITEMS, events.with_columns(pl.col("timestamp").dt.cast_time_unit(unit)))
    assert dataset.history("u") == ["b", "c", "a"]
    assert dataset.interactions["timestamp"].to_list() == [1704067200] * 3
    assert dataset.interactions["timestamp"].dtype == pl.Int64
    assert dataset.report.tied_events == 0


def test_floats_and_dates_are_times():
    floats = make_events(("u", "a", 2.0), ("u", "b", 1.5))
    assert load(ITEMS, floats).interactions["timestamp"].to_list() == [1, 2]
    dates = EVENTS.with_columns(timestamp=pl.date(1970, 1, 2))
    assert set(load(ITEMS, dates).interactions["timestamp"]) == {86400}


def test_position_orders_without_time():
    events = make_events(("u", "a", 2), ("u", "b", 0), ("u", "c", 1), columns=("user_id", "item_id", "position"))
    dataset = load(ITEMS, events)
    assert dataset.history("u") == ["b", "c", "a"]
    assert not dataset.has_time
    assert dataset.interactions["timestamp"].to_list() == [None] * 3
    assert dataset.report.ordered_by == "position"


def test_position_orders_all_when_some_times_are_missing():
    columns = ("user_id", "item_id", "timestamp", "position")
    events = make_events(("u", "a", 1, 2), ("u", "b", None, 1), ("u", "c", 9, 0), columns=columns)
    dataset = load(ITEMS, events)
    assert dataset.history("u") == ["c", "b", "a"]
    assert dataset.report.missing_times == 1
    assert not dataset.has_time


def test_position_decides_between_equal_times():
    columns = ("user_id", "item_id", "timestamp", "position")
    events = make_events(("u", "a", 5, 1), ("u", "b", 5, 0), ("u", "c", 4, 9), columns=columns)
    dataset = load(ITEMS, events)
    assert dataset.history("u") == ["c", "b", "a"]
    assert dataset.report.tied_events == 0


def test_position_with_gaps_is_not_used_beside_time():
    columns = ("user_id", "item_id", "timestamp", "position")
    dataset = load(ITEMS, make_events(("u", "a", 1, 1), ("u", "b", 2, None), ("u", "c", 3, 0), columns=columns))
    assert dataset.history("u") == ["a", "b", "c"]
    assert dataset.report.missing_positions == 1


def test_clean_ups_are_counted():
    items = pl.concat([ITEMS, make_items("b"), pl.DataFrame({"item_id": ["d"], "title": [" "]})])
    many = [("m", "abc"[n % 3], 100 + n) for n in range(40)]
    events = make_events(*many, ("u", "a", 10), ("u", "a", 10), ("u", "a", 11), ("u", "zz", 3), ("v", "b", 1))
    report = load(items, events).report
    assert report.identical_items == 1
    assert report.empty_items == 1
    assert report.exact_repeats == 1
    assert report.kept_repeats == 37 + 1
    assert (report.unknown_items, report.unknown_example) == (1, "zz")
    assert report.single_event_users == 1
    assert "1 events name an unknown item (such as 'zz'): dropped" in report.lines()
    assert report.lines()[0] == "3 users, 43 events, 4 items; ordered by time"
    assert json.loads(json.dumps(report.as_dict()))["unknown_example"] == "zz"


def test_clean_data_reports_its_size_only():
    events = make_events(("u", "a", 1), ("u", "b", 2))
    assert load(ITEMS, events).report.lines() == ["1 users, 2 events, 3 items; ordered by time"]


def test_of_exact_repeats_the_highest_rating_stays():
    rows = [("u", "a", 1, 2.0), ("u", "a", 1, 5.0), ("u", "a", 1, None), ("u", "b", 2, 3.0)]
    events = make_events(*rows, columns=("user_id", "item_id", "timestamp", "rating"))
    for frame in (events, events.reverse()):
        assert load(ITEMS, frame).interactions["rating"].to_list() == [5.0, 3.0]


def test_of_repeats_at_one_position_the_earliest_time_stays():
    """Whichever row comes first in the file, else a shuffled copy of it would be another dataset."""
    rows = [("u", "a", None, 1), ("u", "a", 9, 1), ("u", "a", 5, 1), ("u", "b", None, 2)]
    events = make_events(*rows, columns=("user_id", "item_id", "timestamp", "position"))
    for frame in (events, events.reverse()):
        assert load(ITEMS, frame).interactions["timestamp"].to_list() == [5, None]


def test_min_rating_keeps_what_is_rated_as_high():
    rows = [("u", "a", 1, 3.5), ("u", "b", 2, 4.0), ("u", "c", 3, None), ("v", "c", 3, float("nan"))]
    events = make_events(*rows, columns=("user_id", "item_id", "timestamp", "rating"))
    dataset = load(ITEMS, events, min_rating=4)
    assert dataset.histories() == {"u": ["b"]}
    assert dataset.report.low_ratings == 3
    assert load(ITEMS, events).interactions["rating"].to_list() == [3.5, 4.0, None, None]
    assert "no rating column" in refused(ITEMS, EVENTS, ConfigError, min_rating=4)
    assert "lower data.min_rating" in refused(ITEMS, events, min_rating=5)


def test_integer_and_categorical_ids_become_text():
    items = pl.DataFrame({"item_id": [1, 2], "title": ["A", "B"]})
    events = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["2", "1"], "timestamp": [1, 2]})
    dataset = load(items, events.with_columns(pl.col("user_id").cast(pl.Categorical)))
    assert dataset.histories() == {"u": ["2", "1"]}
    assert dataset.report.integer_ids == 2


def test_items_with_lists_are_read():
    items = pl.DataFrame({"item_id": ["a", "a", "b"], "genres": [["x", "y"], ["x", "y"], []]})
    dataset = load(items, make_events(("u", "a", 1)))
    assert (dataset.report.identical_items, dataset.report.empty_items) == (1, 1)
    assert len(dataset.fingerprint) == 64


@pytest.mark.parametrize(
    ("items", "events", "message"),
    [
        (ITEMS.drop("item_id"), EVENTS, "shop items: column item_id is missing (columns: title); add or rename it"),
        (ITEMS, EVENTS.drop("user_id"), "shop interactions: column user_id is missing"),
        (ITEMS.clear(), EVENTS, "shop items: the table has no rows"),
        (ITEMS, EVENTS.clear(), "shop interactions: the table has no rows"),
        (ITEMS.select("item_id"), EVENTS, "no attribute beside item_id"),
        (make_items("a", None), EVENTS, "shop items: row 2: item_id is empty"),
        (ITEMS, make_events(("u", "a", 1), (" ", "b", 2)), "shop interactions: row 2: user_id is empty"),
        (ITEMS, EVENTS.with_columns(user_id=pl.lit(1.5)), "user_id holds Float64 values; write ids as text"),
        (ITEMS, EVENTS.with_columns(item_id=None), "row 1: item_id is empty"),
        (
            pl.concat([ITEMS, pl.DataFrame({"item_id": ["a"], "title": ["other"]})]),
            EVENTS,
            "shop items: rows 1, 4 describe item 'a' differently; keep one of them",
        ),
        (ITEMS.with_columns(title=pl.lit("")), EVENTS, "shop items: no item has text in title"),
        (
            ITEMS,
            make_events(("u", "a", 1), ("u", "x", 2), ("u", "b", 3), ("u", "y", 4)),
            "row 2: item 'x' is not among the items, like those of 2 rows in 4",
        ),
        (ITEMS, EVENTS.drop("timestamp"), "nothing orders the events; add a timestamp or a whole-number position"),
        (ITEMS, EVENTS.with_columns(timestamp=None), "nothing orders the events"),
        (ITEMS, make_events(("u", "a", 1), ("u", "b", None)), "row 2: timestamp is empty; add a timestamp"),
        (
            ITEMS,
            make_events(("u", "a", 1), ("u", "b", None), columns=("user_id", "item_id", "position")),
            "row 2: position is empty",
        ),
        (ITEMS, EVENTS.with_columns(position=pl.lit(0.5)), "position holds Float64 values; write whole numbers"),
        (ITEMS, EVENTS.with_columns(timestamp=pl.lit("noon")), "timestamp holds String values; write whole seconds"),
        (ITEMS, EVENTS.with_columns(timestamp=1704067200000), "row 1: timestamp 1704067200000 is no time in seconds"),
        (ITEMS, EVENTS.with_columns(rating=pl.lit("good")), "rating holds String values; write numbers"),
        (ITEMS, EVENTS.with_columns(weight=pl.lit("big")), "weight holds String values; write numbers"),
    ],
)
def test_bad_frames_are_named_with_row_and_remedy(items, events, message):
    assert message in refused(items, events)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'no'}: no such folder; give one that holds items")):
        Dataset.from_folder(tmp_path / "no", CONFIG, seed=7)
    ITEMS.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"interactions\.parquet: no such file; write this table there as Parquet"):
        Dataset.from_folder(tmp_path, CONFIG, seed=7)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "truncated or damaged; copy or write it again"),
        (lambda data: data[:-1], "truncated or damaged"),
        (lambda data: data[:8] + b"\xff" * 40 + data[48:], "truncated or damaged"),
        (lambda _: b"item_id,title\na,A\n", "not a Parquet file (it starts with 'item_id,title'); convert it"),
        (lambda _: b"", "not a Parquet file (it is empty)"),
        (lambda _: b"\x00\x01\x02", "not a Parquet file (its content is binary)"),
    ],
)
def test_damaged_file_ends_in_one_sentence(tmp_path, damage, message):
    path = write_folder(tmp_path) / "items.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        Dataset.from_folder(tmp_path, CONFIG, seed=7)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "items.parquet").mkdir()
    with pytest.raises(DataError, match=r"items\.parquet: cannot be opened"):
        Dataset.from_folder(tmp_path, CONFIG, seed=7)


def test_movielens_loads(shared):
    dataset = Dataset.from_folder(shared / "data" / "movielens_small3", CONFIG, seed=7)
    assert (dataset.report.users, dataset.report.events, dataset.report.items) == (1975, 297873, 13004)
    assert dataset.has_time
    assert dataset.report.tied_events > 50_000
    rated = CONFIG.model_copy(update={"min_rating": 4.0, "attributes": ["title", "overview"]})
    liked = Dataset.from_folder(shared / "data" / "movielens_small3", rated, seed=7)
    assert liked.report.events == 147104
    assert sum(len(history) >= 11 for history in liked.histories().values()) == 1820


def test_amazon_loads(shared):
    dataset = Dataset.from_folder(shared / "data" / "amazon18_industrial", CONFIG, seed=7)
    assert (dataset.report.users, dataset.report.events, dataset.report.items) == (3285, 22743, 3686)
    assert dataset.report.kept_repeats == 1079
    assert dataset.history("A4042") == ["3112", "114", "2697", "2393", "2660", "3167", "2058", "1487"]
    assert dataset.attributes == ("title", "brand", "description", "in_interactions")
