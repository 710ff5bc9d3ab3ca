import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_data import CONFIG, load, make_dataset, make_events, make_items

from trsr.config import SplitConfig
from trsr.data.dataset import Dataset
from trsr.data.splits import make_examples
from trsr.errors import ConfigError, DataError

PROTOCOLS = ["time", "last", "users"]


def split(dataset, seed=7, min_history=1, max_history=None, **settings):
    data = CONFIG.model_copy(update={"min_history": min_history, "max_history": max_history})
    return make_examples(dataset, SplitConfig(**settings), data, seed)


def rows_of(examples, name):
    return list(examples.frame.filter(pl.col("split") == name).iter_rows(named=True))


def test_last_holds_out_the_latest_two_events():
    dataset = make_dataset(users=3, length=6)
    examples = split(dataset, by="last", targets_per_user=2)
    history = dataset.history("u001")
    mine = examples.frame.filter(pl.col("user_id") == "u001")
    assert dict(mine.select("cut", "split").iter_rows()) == {2: "train", 3: "train", 4: "valid", 5: "test"}
    assert mine["item_id"].to_list() == history[2:]
    assert mine["example_id"].to_list() == ["u001@2", "u001@3", "u001@4", "u001@5"]
    assert examples.fit_events["order"].max() == 3
    assert examples.fit_events.height == 3 * 4


def test_users_are_parted_by_the_seed():
    dataset = make_dataset(users=40, length=6)
    examples = split(dataset, by="users", valid=0.2, test=0.1, targets_per_user=3)
    users = {name: {row["user_id"] for row in rows_of(examples, name)} for name in ("train", "valid", "test")}
    assert {name: len(part) for name, part in users.items()} == {"train": 28, "valid": 8, "test": 4}
    assert len(users["train"] | users["valid"] | users["test"]) == 40
    assert {row["cut"] for row in rows_of(examples, "test")} == {5}
    assert sorted({row["cut"] for row in rows_of(examples, "train")}) == [3, 4, 5]
    assert set(examples.fit_events["user_id"]) == users["train"]
    assert examples.fit_events.height == 28 * 6
    assert {row["user_id"] for row in rows_of(split(dataset, 8, by="users"), "test")} != users["test"]


def test_time_cuts_at_two_moments():
    items = make_items(*"abcdefghij")
    early = [("u", item, time) for time, item in enumerate("abcdef")]
    late = [("v", "a", 0), ("v", "b", 5), ("v", "c", 6), ("v", "d", 7), ("u", "g", 8), ("v", "e", 8), ("v", "f", 9)]
    dataset = load(items, make_events(*early, *late))
    # 13 events: the last 3 (moments 8 and 9) are test, the 3 before (5, 6 and 7, and their equals at 5) valid
    examples = split(dataset, by="time", valid=0.25, test=0.25, targets_per_user=2)
    found = {(row["user_id"], row["cut"], row["split"]) for row in examples.frame.iter_rows(named=True)}
    assert found == {
        ("u", 6, "test"),
        ("v", 5, "test"),
        ("v", 3, "valid"),
        ("u", 5, "valid"),
        ("u", 4, "train"),
        ("u", 3, "train"),
    }
    assert examples.fit_events["timestamp"].max() == 4
    assert examples.fit_events.height == 6


def test_auto_takes_time_where_it_is_real():
    assert split(make_dataset()).by == "time"
    no_time = make_dataset().interactions.select("user_id", "item_id", pl.col("order").alias("position"))
    dataset = load(make_items(*(f"i{item:03d}" for item in range(60))), no_time)
    assert split(dataset).by == "last"
    with pytest.raises(ConfigError, match=r"split\.by: shop has events without a timestamp; use last or users"):
        split(dataset, by="time")


@pytest.mark.parametrize("by", PROTOCOLS)
def test_min_history_counts_events_before_the_target(by):
    dataset = make_dataset(length=8)
    examples = split(dataset, by=by, min_history=5, targets_per_user=8)
    assert examples.frame["cut"].min() == 5
    free = split(dataset, by=by, targets_per_user=8).frame
    assert free.filter(pl.col("cut") >= 5).equals(examples.frame)


def test_max_history_shortens_the_old_end():
    dataset = make_dataset(length=8)
    row = split(dataset, by="last").frame.row(0, named=True)
    history = dataset.history(row["user_id"])
    assert split(dataset, by="last").history(dataset, row) == history[: row["cut"]]
    assert split(dataset, by="last", max_history=2).history(dataset, row) == history[row["cut"] - 2 : row["cut"]]
    assert split(dataset, by="last", max_history=99).history(dataset, row) == history[: row["cut"]]


events = st.lists(
    st.tuples(st.sampled_from("stuvwxyz"), st.sampled_from("abcdef"), st.integers(0, 30)), min_size=20, max_size=80
)


@settings(max_examples=80, deadline=None)
@given(rows=events, by=st.sampled_from(PROTOCOLS), targets=st.integers(1, 4), seed=st.integers(0, 3))
def test_no_peeking(rows, by, targets, seed):
    dataset = load(make_items(*"abcdef"), make_events(*rows), seed)
    try:
        examples = split(dataset, seed, by=by, valid=0.2, test=0.2, targets_per_user=targets)
    except DataError:
        return
    seen = {(row["user_id"], row["order"]) for row in examples.fit_events.iter_rows(named=True)}
    by_user = {user: part for (user,), part in dataset.interactions.group_by("user_id", maintain_order=True)}
    for row in examples.frame.iter_rows(named=True):
        timeline = by_user[row["user_id"]]
        target = timeline.row(row["cut"], named=True)
        assert target["item_id"] == row["item_id"]
        before = timeline.filter(pl.col("order") < row["cut"])
        assert examples.history(dataset, row) == before["item_id"].to_list()
        assert before["timestamp"].max() <= target["timestamp"]
        assert ((row["user_id"], row["cut"]) in seen) == (row["split"] == "train")
    assert examples.frame["example_id"].is_unique().all()
    if by == "time":
        held_out = examples.frame.filter(pl.col("split") != "train")
        moments = held_out.join(dataset.interactions, left_on=["user_id", "cut"], right_on=["user_id", "order"])
        assert examples.fit_events["timestamp"].max() < moments["timestamp"].min()


@pytest.mark.parametrize("by", PROTOCOLS)
def test_row_order_and_repetition_change_nothing(by):
    items = make_items(*(f"i{item:03d}" for item in range(60)))
    # two events a second, so that ties matter
    frame = make_dataset().interactions.with_columns(pl.col("timestamp") // 2).drop("order")
    settings = {"by": by, "max_train": 9, "max_test": 2, "targets_per_user": 3}
    one = split(load(items, frame), **settings)
    two = split(load(items.reverse(), frame.sample(fraction=1, shuffle=True, seed=3)), **settings)
    assert one.frame.equals(two.frame)
    assert one.fit_events.equals(two.fit_events)


def test_limits_take_a_seeded_subset_that_grows():
    dataset = make_dataset(users=50)
    whole = set(split(dataset, by="last").frame["example_id"])
    ids = {size: split(dataset, by="last", max_test=size).frame for size in (5, 20)}
    small, large = ({*frame.filter(pl.col("split") == "test")["example_id"]} for frame in ids.values())
    assert (len(small), len(large)) == (5, 20)
    assert small < large < whole
    assert ids[5].filter(pl.col("split") != "test").height == 100
    other = split(dataset, 8, by="last", max_test=5).frame.filter(pl.col("split") == "test")
    assert set(other["example_id"]) != small
    bounded = split(dataset, by="last", max_train=3, max_valid=4)
    assert [len(rows_of(bounded, name)) for name in ("train", "valid", "test")] == [3, 4, 50]
    assert bounded.fit_events.equals(split(dataset, by="last").fit_events)


def test_empty_split_says_how_long_histories_are():
    with pytest.raises(DataError) as caught:
        split(make_dataset(users=4, length=6), by="last", min_history=5)
    assert str(caught.value) == (
        "shop: split by last leaves no train example: 4 of 4 users have more than min_history 5 events "
        "(median 6, most 6); lower data.min_history, use more users or another split.by"
    )
    rows = [("u", "abcdefgh"[time], time) for time in range(8)]
    dataset = load(make_items(*"abcdefgh"), make_events(*rows, ("v", "a", 8), ("u", "a", 9)))
    with pytest.raises(
        DataError, match=r"split by time leaves no valid example: 1 of 2 users.*raise split\.valid, use"
    ):
        split(dataset, by="time")


def test_fractions_must_leave_something_to_train_on():
    with pytest.raises(ConfigError, match=r"valid 0\.5 and test 0\.5 leave nothing to train on"):
        split(make_dataset(), by="users", valid=0.5, test=0.5)
    assert split(make_dataset(), by="last", valid=0.5, test=0.5).by == "last"
    with pytest.raises(ValidationError):
        SplitConfig(test=1.0)


@pytest.mark.parametrize(("name", "by"), [("movielens_small3", "time"), ("amazon18_industrial", "last")])
def test_real_data_splits(shared, name, by):
    dataset = Dataset.from_folder(shared / "data" / name, CONFIG, seed=7)
    examples = split(dataset, min_history=2)
    assert examples.by == by
    counts = dict(examples.frame["split"].value_counts().iter_rows())
    assert min(counts.values()) > 100
    held_out = examples.frame.filter(pl.col("split") != "train").rename({"cut": "order"})
    assert examples.fit_events.join(held_out, on=["user_id", "order"], how="semi").is_empty()
