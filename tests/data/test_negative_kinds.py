"""Popular, retrieved and catalogue candidates; if these fail, a model is measured against what it may not meet."""

from collections import Counter
from itertools import permutations
from zlib import crc32

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from small_data import CONFIG, make_dataset

from trsr.config import SplitConfig
from trsr.data.candidates import catalogue_candidates, check_candidates, nearest_candidates, sample_candidates
from trsr.data.splits import make_examples
from trsr.errors import DataError


def tasks(*rows):
    return pl.DataFrame(list(rows), schema=["example_id", "user_id", "cut", "item_id"], orient="row")


def events_of(histories):
    rows = [(user, item, place) for user in sorted(histories) for place, item in enumerate(histories[user])]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "order"], orient="row")


@st.composite
def worlds(draw):
    catalogue = [f"i{number:02d}" for number in range(draw(st.integers(4, 60)))]
    ids = st.sampled_from(catalogue)
    histories = draw(st.dictionaries(st.sampled_from("stuvw"), st.lists(ids, min_size=1, max_size=20), min_size=1))
    rows = [(f"{user}@{cut}", user, cut, items[cut]) for user, items in histories.items() for cut in range(len(items))]
    fitted = draw(st.lists(ids, min_size=1, max_size=300))
    return catalogue, histories, rows, fitted, draw(st.integers(1, 8)), draw(st.integers(0, 2**32 - 1))


def popular(world):
    catalogue, histories, rows, fitted, negatives, seed = world
    return sample_candidates(tasks(*rows), histories, catalogue, negatives, seed, pl.Series(fitted))


def scores_of(world):
    """A score for every example and item, with ties, the same whatever the order of rows."""
    catalogue, _, rows, _, _, _ = world
    return {
        row[0]: np.array([crc32(f"{row[0]} {item}".encode()) % 5 for item in catalogue], np.float32) for row in rows
    }


def nearest(world):
    catalogue, histories, rows, _, negatives, seed = world
    scores = scores_of(world)
    ordered = iter([scores[name] for name in sorted(scores)])
    return nearest_candidates(tasks(*rows), events_of(histories), pl.Series(catalogue), ordered, negatives, seed)


def whole(world):
    return catalogue_candidates(tasks(*world[2]), events_of(world[1]), pl.Series(world[0]))


def free_items(world, row):
    catalogue, histories, *_ = world
    _, user, cut, target = row
    return set(catalogue) - set(histories[user][:cut]) - {target}


def enough(world, among=None):
    return all(len(free_items(world, row) & set(among or world[0])) >= world[4] for row in world[2])


@pytest.mark.parametrize("kind", ["popular", "retrieved"])
@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_negatives_are_distinct_and_neither_target_nor_history(kind, world):
    make, among = (popular, world[3]) if kind == "popular" else (nearest, None)
    if not enough(world, among):
        with pytest.raises(DataError, match=r"left to draw from, \d negatives are wanted; lower candidates\.negatives"):
            make(world)
        return
    frame = make(world)
    check_candidates(frame, kind)
    assert frame.height == len(world[2]) * (world[4] + 1)
    for row in world[2]:
        part = frame.filter(pl.col("example_id") == row[0])
        assert part.filter(pl.col("label") == 1).select("item_id", "source").rows() == [(row[3], "target")]
        drawn = part.filter(pl.col("label") == 0)
        assert drawn["source"].to_list() == [kind] * world[4]
        assert set(drawn["item_id"]) <= free_items(world, row) & set(among or world[0])
    assert frame.equals(make(world))


@settings(max_examples=50, deadline=None)
@given(world=worlds(), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_items_and_events_changes_nothing(world, order):
    assume(enough(world, world[3]))
    catalogue, histories, rows, fitted, negatives, seed = world
    mixed = [order.sample(part, len(part)) for part in (catalogue, rows, fitted)]
    other = (mixed[0], histories, mixed[1], mixed[2], negatives, seed)
    assert popular(world).equals(popular(other))
    assert whole(world).equals(whole(other)) if enough(world) else True
    scores = scores_of(world)
    ordered = iter([scores[name] for name in sorted(scores)])
    again = nearest_candidates(tasks(*mixed[1]), events_of(histories), pl.Series(mixed[0]), ordered, negatives, seed)
    assert nearest(world).equals(again)


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_retrieved_negatives_score_no_lower_than_any_that_was_left(world):
    assume(enough(world))
    frame, scores = nearest(world), scores_of(world)
    for row in world[2]:
        chosen = set(frame.filter((pl.col("example_id") == row[0]) & (pl.col("label") == 0))["item_id"])
        of = dict(zip(world[0], scores[row[0]], strict=True))
        left = free_items(world, row) - chosen
        assert min(of[item] for item in chosen) >= max((of[item] for item in left), default=-1)


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_the_catalogue_is_the_target_and_all_that_is_new_to_the_user(world):
    if any(not free_items(world, row) for row in world[2]):
        with pytest.raises(DataError, match="its user had all other items, so nothing stands beside the target"):
            whole(world)
        return
    frame = whole(world)
    check_candidates(frame, "catalogue")
    for row in world[2]:
        part = frame.filter(pl.col("example_id") == row[0])
        assert part["item_id"].to_list() == sorted(free_items(world, row) | {row[3]})
        assert part.filter(pl.col("source") == "target")["item_id"].to_list() == [row[3]]
        assert set(part.filter(pl.col("label") == 0)["source"]) == {"catalogue"}


def in_turn(counts, negatives):
    """The probability of every sequence of draws without replacement, one after another."""
    found = {}
    for sequence in permutations(counts, negatives):
        left, chance = sum(counts.values()), 1.0
        for item in sequence:
            chance *= counts[item] / left
            left -= counts[item]
        found[sequence] = chance
    return found


@pytest.mark.parametrize("heavy", [False, True], ids=["by rejection", "by order"])
def test_popular_negatives_have_the_odds_of_their_events(heavy):
    """Against all sequences of draws: five items, of which two are the target and the history."""
    counts = {"a": 6, "b": 5, "c": 4, "d": 3, "e": 2}
    counts |= {"h": 60, "t": 3} if heavy else {"h": 1, "t": 1}
    spread = {
        f"x{number}": 5 for number in range(0 if heavy else 12)
    }  # keeps the two most popular from most of the mass
    fitted = pl.Series([item for item, count in (counts | spread).items() for _ in range(count)])
    copies = 20_000
    frame = tasks(*((f"u@{number:05d}", "u", 1, "t") for number in range(copies)))
    found = sample_candidates(frame, {"u": ["h", "t"]}, [*counts, *spread, "never"], 2, 7, fitted)
    drawn = found.filter(pl.col("label") == 0).group_by("example_id").agg(pl.col("item_id").sort())
    seen = Counter(map(tuple, drawn["item_id"]))
    expected = Counter()
    for sequence, chance in in_turn({i: c for i, c in (counts | spread).items() if i not in "ht"}, 2).items():
        expected[tuple(sorted(sequence))] += chance
    assert set(seen) <= set(expected)
    assert chisquare([seen[pair] for pair in expected], [copies * expected[pair] for pair in expected]).pvalue > 1e-3


def test_an_item_without_a_fitted_event_is_never_drawn_and_too_few_are_named():
    frame = tasks(("u@1", "u", 1, "b"))
    fitted = pl.Series(["a", "b", "c", "d", "d"])
    found = sample_candidates(frame, {"u": ["a", "b"]}, list("abcdef"), 2, 7, fitted)
    assert set(found["item_id"]) == {"b", "c", "d"}
    with pytest.raises(DataError) as caught:
        sample_candidates(frame, {"u": ["a", "b"]}, list("abcdef"), 3, 7, fitted)
    assert str(caught.value) == (
        "example u@1: 2 items with an event in training are left to draw from, 3 negatives are wanted; "
        "lower candidates.negatives and candidates.train_negatives"
    )


def test_a_dataset_gets_the_same_popular_candidates_from_its_events():
    dataset = make_dataset(users=60)
    examples = make_examples(dataset, SplitConfig(by="last"), CONFIG, 7)
    catalogue, fitted = dataset.items["item_id"], examples.fit_events["item_id"]
    one = sample_candidates(examples.frame, dataset.interactions, catalogue, 5, 7, fitted)
    assert one.equals(sample_candidates(examples.frame, dataset.histories(), catalogue, 5, 7, fitted.reverse()))
    assert not one.equals(sample_candidates(examples.frame, dataset.interactions, catalogue, 5, 8, fitted))
