"""Impressions as examples; if these fail, a click stands in its own history or a fitted model saw the future."""

import polars as pl
import pytest
from small_data import load, make_items

from trsr.config import CandidateConfig, DataConfig, SplitConfig
from trsr.data.impression_examples import impression_tasks
from trsr.errors import ConfigError, DataError

ITEMS = make_items(*"abcdefgh")
# user, item, time, position: a known history without times, then clicks
EVENTS = [
    ("u", "a", None, 0), ("u", "b", None, 1), ("u", "c", 10, 2),
    ("u", "d", 20, 3), ("u", "e", 20, 3), ("u", "f", 40, 4),
    ("v", "b", None, 0), ("v", "a", 15, 1), ("v", "c", 30, 2),
    ("w", "h", None, 0), ("w", "a", 35, 1),
]  # fmt: skip
SHOWN = [
    ("i1", "u", 10, "train", ["c", "d", "zz"], ["c"]),
    ("i2", "u", 20, "train", ["f", "e", "d", "a", "f"], ["d", "e"]),
    ("i3", "v", 15, "train", ["a", "b", "g", "h", "f"], ["a"]),
    ("i4", "v", 30, "train", ["c", "d"], ["c"]),
    ("i5", "u", 40, "train", ["f", "g"], ["f"]),
    ("i6", "w", 35, "train", ["a", "b", "c"], ["a"]),
    ("i7", "w", 36, "train", ["zz", "b"], ["zz"]),  # of the click nothing is known
]


def write(folder, rows=SHOWN):
    schema = {"example_id": pl.String, "user_id": pl.String, "timestamp": pl.Int64, "split": pl.String}
    schema |= {"shown": pl.List(pl.String), "clicked": pl.List(pl.String)}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "impressions.parquet")
    return folder


def dataset(events=EVENTS):
    columns = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "position": pl.Int64}
    return load(ITEMS, pl.DataFrame(events, schema=columns, orient="row"))


def make(folder, min_history=1, split=None, seed=7, **candidates):
    split = split or SplitConfig(by="auto", valid=0.17, test=0.34, targets_per_user=5)
    data = DataConfig(path="unused", min_history=min_history)
    settings = CandidateConfig(source="impressions", **candidates)
    return impression_tasks(folder, dataset(), split, data, settings, seed)


def test_the_history_ends_before_the_moment_of_the_impression(tmp_path):
    frame = make(write(tmp_path)).examples.frame
    cuts = dict(frame.select("example_id", "cut").iter_rows())
    assert cuts == {"i1": 2, "i2": 3, "i3": 1, "i4": 2, "i5": 5, "i6": 1}
    split = dict(frame.select("example_id", "split").iter_rows())
    assert split == {"i1": "train", "i2": "train", "i3": "train", "i4": "valid", "i5": "test", "i6": "test"}


def test_nothing_from_the_first_validation_moment_on_is_fitted(tmp_path):
    fitted = make(write(tmp_path)).examples.fit_events
    assert fitted["timestamp"].max() == 20
    assert (
        fitted.filter(pl.col("timestamp").is_null()).height == 3
    )  # when w had b is not known, only that it was before 35
    assert dict(fitted.group_by("user_id").len().iter_rows()) == {"u": 5, "v": 2}


def test_what_is_known_was_shown_and_every_click_is_a_target(tmp_path):
    shown = make(write(tmp_path)).shown
    assert shown["test"].rows() == [
        ("i5", "u", "f", 1, "target"),
        ("i5", "u", "g", 0, "impression"),
        ("i6", "w", "a", 1, "target"),
        ("i6", "w", "b", 0, "impression"),
        ("i6", "w", "c", 0, "impression"),
    ]
    second = shown["train"].filter(pl.col("example_id") == "i2")
    assert second["item_id"].to_list() == ["f", "e", "d", "a"]
    assert second["label"].to_list() == [0, 1, 1, 0]


def test_training_keeps_some_of_the_negatives_drawn_by_the_seed(tmp_path):
    def drawn(seed, rows=SHOWN):
        train = make(write(tmp_path, rows), train_negatives=2, seed=seed).shown["train"]
        return frozenset(train.filter((pl.col("example_id") == "i3") & (pl.col("label") == 0))["item_id"])

    found = [drawn(seed) for seed in range(12)]
    assert {len(items) for items in found} == {2}
    assert frozenset().union(*found) == set("bghf")
    assert found == [drawn(seed, SHOWN[::-1]) for seed in range(12)]


def test_other_negatives_in_training_make_an_example_of_each_click(tmp_path):
    tasks = make(write(tmp_path), train_source="uniform")
    assert set(tasks.shown) == {"valid", "test"}
    rows = {name: (cut, item) for name, _, cut, item in tasks.drawn.iter_rows()}
    # `cut` reaches over the clicks of the same moment, so that none of them is drawn as a negative
    assert rows == {"i1": (3, "c"), "i2": (5, "d"), "i2/2": (5, "e"), "i3": (2, "a")}
    cuts = dict(tasks.examples.frame.select("example_id", "cut").iter_rows())
    assert (cuts["i2"], cuts["i2/2"]) == (3, 3)


def test_the_parts_of_the_source_are_the_splits(tmp_path):
    parts = {"i4": "dev", "i6": "dev", "i5": "test"}
    three = [(*row[:3], parts.get(row[0], "train"), *row[4:]) for row in SHOWN]
    frame = make(write(tmp_path, three)).examples.frame
    names = {"i1": "train", "i2": "train", "i3": "train", "i4": "valid", "i5": "test", "i6": "valid"}
    assert dict(frame.select("example_id", "split").iter_rows()) == names
    two = [(*row[:3], "dev" if row[2] > 30 else "train", *row[4:]) for row in SHOWN]
    split = SplitConfig(valid=0.25, targets_per_user=5)
    frame = make(write(tmp_path, two), split=split).examples.frame
    assert dict(frame.select("example_id", "split").iter_rows()) == names | {"i6": "test"}
    by_time = SplitConfig(by="time", valid=0.17, test=0.34, targets_per_user=5)
    frame = make(write(tmp_path, three), split=by_time).examples.frame
    assert dict(frame.select("example_id", "split").iter_rows()) == names | {"i6": "test"}


def test_row_order_changes_nothing(tmp_path):
    one, two = make(write(tmp_path)), make(write(tmp_path, SHOWN[::-1]))
    assert one.examples.frame.equals(two.examples.frame)
    assert all(one.shown[split].equals(two.shown[split]) for split in ("train", "valid", "test"))


def test_a_user_counts_with_the_latest_impressions_in_training(tmp_path):
    split = SplitConfig(valid=0.17, test=0.34, targets_per_user=1)
    frame = make(write(tmp_path), split=split).examples.frame
    assert frame.filter(pl.col("split") == "train")["example_id"].to_list() == ["i2", "i3"]


def test_what_makes_no_examples_is_said(tmp_path):
    with pytest.raises(DataError, match=r"no impressions\.parquet; import a data set that has impressions"):
        make(tmp_path)
    with pytest.raises(DataError, match=r"no impression is left for train; .* 3 events before it: lower data"):
        make(write(tmp_path), min_history=3)
    with pytest.raises(ConfigError, match=r"split: valid 0\.5 and test 0\.5 leave nothing to train on"):
        make(write(tmp_path), split=SplitConfig(valid=0.5, test=0.5))
    pl.read_parquet(tmp_path / "impressions.parquet").drop("timestamp").write_parquet(tmp_path / "impressions.parquet")
    with pytest.raises(DataError, match="no column timestamp of type Int64; import the data set again"):
        make(tmp_path)
