import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from small_data import CONFIG, make_dataset

from trsr.config import SplitConfig
from trsr.data.candidates import _events, check_candidates, read_candidates, sample_candidates
from trsr.data.dataset import Dataset
from trsr.data.negatives import Tasks
from trsr.data.splits import make_examples
from trsr.errors import DataError

COLUMNS = ["example_id", "user_id", "item_id", "label", "source"]


def tasks(*rows):
    return pl.DataFrame(list(rows), schema=["example_id", "user_id", "cut", "item_id"], orient="row")


def one_user(history, cut, copies):
    frame = tasks(*((f"u@{number:06d}", "u", cut, history[cut]) for number in range(copies)))
    return frame, {"u": history}


@st.composite
def worlds(draw):
    catalogue = [f"i{number}" for number in range(draw(st.integers(4, 60)))]
    ids = st.sampled_from([*catalogue, "outside"])
    histories = draw(st.dictionaries(st.sampled_from("stuvw"), st.lists(ids, min_size=1, max_size=20), min_size=1))
    rows = [(f"{user}@{cut}", user, cut, items[cut]) for user, items in histories.items() for cut in range(len(items))]
    return catalogue, histories, rows, draw(st.integers(1, 8)), draw(st.integers())


@settings(max_examples=150, deadline=None)
@given(world=worlds())
def test_every_example_has_its_target_and_allowed_negatives(world):
    catalogue, histories, rows, negatives, seed = world
    left = {row[0]: len(set(catalogue) - set(histories[row[1]][: row[2]]) - {row[3]}) for row in rows}
    if min(left.values()) < negatives:
        with pytest.raises(DataError, match=r"items are left to draw from.*lower candidates\.negatives"):
            sample_candidates(tasks(*rows), histories, catalogue, negatives, seed)
        return
    frame = sample_candidates(tasks(*rows), histories, catalogue, negatives, seed)
    assert frame.columns == COLUMNS
    assert frame.height == len(rows) * (negatives + 1)
    for example, user, cut, target in rows:
        part = frame.filter(pl.col("example_id") == example)
        assert set(part["user_id"]) == {user}
        assert part.filter(pl.col("label") == 1).select("item_id", "source").rows() == [(target, "target")]
        drawn = part.filter(pl.col("label") == 0)
        assert drawn["source"].to_list() == ["uniform"] * negatives
        assert drawn["item_id"].n_unique() == negatives
        assert set(drawn["item_id"]) <= set(catalogue) - set(histories[user][:cut]) - {target}
    check_candidates(frame, "sampled")


def test_items_after_the_cut_can_be_negatives():
    frame, histories = one_user(["a", "b", "c", "d"], 1, 1)
    found = sample_candidates(frame, histories, ["a", "b", "c", "d"], 2, 7)
    assert set(found["item_id"]) == {"b", "c", "d"}


def test_too_few_items_names_the_example_and_the_remedy():
    frame, histories = one_user(["a", "b", "a"], 1, 1)
    with pytest.raises(DataError) as caught:
        sample_candidates(frame, histories, list("abcd"), 3, 7)
    assert str(caught.value) == (
        "example u@000000: 2 items are left to draw from, 3 negatives are wanted; "
        "lower candidates.negatives and candidates.train_negatives"
    )


def test_row_order_of_examples_and_catalogue_changes_nothing():
    dataset = make_dataset(users=60)
    frame = make_examples(dataset, SplitConfig(by="last"), CONFIG, 7).frame
    catalogue = dataset.items["item_id"].to_list()
    one = sample_candidates(frame, dataset.histories(), catalogue, 5, 7)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    two = sample_candidates(shuffled, dataset.histories(), [*catalogue[::-1], catalogue[0]], 5, 7)
    assert one.equals(two)
    assert not one.equals(sample_candidates(frame, dataset.histories(), catalogue, 5, 8))


@pytest.mark.parametrize("size", [12, 400], ids=["by order", "by rejection"])
def test_negatives_and_the_place_of_the_target_are_uniform(size):
    catalogue = [f"i{number:03d}" for number in range(size)]
    copies, negatives = 4000, 4
    frame, histories = one_user(["i001", "i005", "i003", "i005"], 2, copies)
    found = sample_candidates(frame, histories, catalogue, negatives, 7)
    counts = found.filter(pl.col("label") == 0)["item_id"].value_counts()
    assert counts.height == size - 3
    assert chisquare(counts["count"].to_list()).pvalue > 1e-3
    places = found.with_columns(place=pl.int_range(pl.len()).over("example_id"))
    of_target = places.filter(pl.col("label") == 1)["place"].value_counts()
    assert of_target.height == negatives + 1
    assert chisquare(of_target["count"].to_list()).pvalue > 1e-3
    ids = places.filter(pl.col("label") == 0).with_columns(number=pl.col("item_id").str.slice(1).cast(pl.Int64))
    assert abs(ids.select(pl.corr("place", "number")).item()) < 0.03  # 3.8 standard errors


def test_interactions_and_lists_of_items_give_the_same():
    dataset = make_dataset(users=60)
    frame = make_examples(dataset, SplitConfig(by="last", targets_per_user=3), CONFIG, 7).frame
    catalogue = dataset.items["item_id"]
    some = frame.filter(pl.col("user_id") > "u030")  # the events of the others are left out
    by_lists = sample_candidates(some, dataset.histories(), catalogue.to_list(), 5, 7)
    assert sample_candidates(some, dataset.interactions, catalogue, 5, 7).equals(by_lists)
    with pytest.raises(KeyError, match="nobody"):
        sample_candidates(some.with_columns(user_id=pl.lit("nobody")), dataset.interactions, catalogue, 5, 7)


def test_a_long_history_is_never_drawn_from_a_large_catalogue():
    # a quarter of 1,300 items is forbidden, so one draw in four must be drawn again
    history = [f"i{number:04d}" for number in range(300)]
    frame = pl.concat([one_user(history, cut, 1)[0].with_columns(example_id=pl.lit(f"u@{cut}")) for cut in range(300)])
    found = sample_candidates(frame, {"u": history}, [f"i{number:04d}" for number in range(1300)], 20, 7)
    drawn = found.filter(pl.col("label") == 0).with_columns(
        number=pl.col("item_id").str.slice(1).cast(pl.Int64), cut=pl.col("example_id").str.slice(2).cast(pl.Int64)
    )
    assert (drawn["number"] > drawn["cut"]).all()
    assert (drawn.group_by("example_id").agg(pl.col("item_id").n_unique())["item_id"] == 20).all()
    later = drawn.filter((pl.col("number") < 300) & (pl.col("cut") < 100))
    assert later["number"].n_unique() > 190  # items after the cut are not spared


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_the_coarse_table_never_misses_a_history_item(world):
    catalogue, histories, rows, _, _ = world
    frame = tasks(*rows).sort("example_id")
    events = _events(frame, histories)
    encoded = Tasks.encode(frame, events, pl.Series(catalogue))
    codes = np.tile(np.arange(len(catalogue), dtype=np.int32), (frame.height, 1))
    numbers = np.arange(frame.height)
    maybe = encoded.may_be_in_history(numbers, codes)
    exact = encoded.in_history(np.repeat(numbers, len(catalogue)), codes.ravel()).reshape(codes.shape)
    for row, (_, user, cut, _) in enumerate(frame.rows()):
        assert exact[row].tolist() == [item in histories[user][:cut] for item in sorted(catalogue)]
    assert not (exact & ~maybe).any()


@pytest.mark.parametrize("name", ["movielens_small3", "amazon18_industrial"])
def test_real_data_keeps_history_out(shared, name):
    dataset = Dataset.from_folder(shared / "data" / name, CONFIG, seed=7)
    examples = make_examples(dataset, SplitConfig(by="last", targets_per_user=2), CONFIG, 7)
    found = sample_candidates(examples.frame, dataset.histories(), dataset.items["item_id"].to_list(), 20, 7)
    assert found.height == examples.frame.height * 21
    check_candidates(found, "sampled")
    negatives = found.filter(pl.col("label") == 0).join(examples.frame.drop("item_id", "user_id"), on="example_id")
    events = dataset.interactions.select("user_id", "item_id", "order")
    clash = negatives.join(events, on=["user_id", "item_id"]).filter(pl.col("order") <= pl.col("cut"))
    assert clash.is_empty()


GOOD = pl.DataFrame(
    [("e", "u", "a", 1, "target"), ("e", "u", "b", 0, "uniform"), ("f", "u", "a", 1, "target")],
    schema=COLUMNS,
    orient="row",
)


def test_candidates_come_back_from_a_file(tmp_path):
    path = tmp_path / "candidates.parquet"
    GOOD.with_columns(extra=1).select(pl.all().reverse()).write_parquet(path)
    assert read_candidates(path).equals(GOOD.reverse().with_columns(pl.col("label").cast(pl.Int8)))
    path.write_bytes(b"example_id,item_id\n")
    with pytest.raises(DataError, match=r"candidates\.parquet: not a Parquet file"):
        read_candidates(path)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (GOOD.drop("source"), "c: column source is missing; a candidates table has example_id, user_id, item_id"),
        (GOOD.clear(), "c: the table has no rows"),
        (GOOD.with_columns(item_id=pl.Series(["a", None, "b"])), "c: row 2: item_id is empty; fill it"),
        (GOOD.with_columns(label=pl.Series([1, 0, None])), "c: row 3: label is empty"),
        (GOOD.with_columns(item_id=pl.Series([1, 2, 3])), "c: item_id holds Int64 values; write text"),
        (GOOD.with_columns(label=pl.lit("1")), "c: label holds String values; write 0 or 1"),
        (GOOD.with_columns(label=pl.Series([1, 2, 1])), "c: row 2: label is 2; write 1 for a target and 0 otherwise"),
        (pl.concat([GOOD, GOOD[:1]]), "c: row 4: item 'a' is there twice for example 'e'; keep one of them"),
        (GOOD.with_columns(label=pl.Series([1, 0, 0])), "c: row 3: example 'f' has no row with label 1; add it"),
    ],
)
def test_bad_candidates_are_named_with_their_row(frame, message):
    with pytest.raises(DataError) as caught:
        check_candidates(frame, "c")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
