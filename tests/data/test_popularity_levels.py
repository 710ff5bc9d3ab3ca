"""Popularity levels: each holds its share of the events, whatever the order of the rows."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trsr.data.popularity import popularity_levels


def events(counts):
    return pl.DataFrame({"item_id": [item for item, count in counts.items() for _ in range(count)]})


def test_the_most_frequent_items_that_hold_a_share_of_all_events_are_of_the_highest_level():
    levels = popularity_levels(events({"star": 50, "known": 25, "second": 25, **{f"rare{n}": 1 for n in range(10)}}), 4)
    assert levels["star"] == 4
    assert levels["known"] == levels["second"] == 2  # the middle of their events is number 75 of 110
    assert {levels[f"rare{n}"] for n in range(10)} == {1}


def test_items_of_one_frequency_are_of_the_middle_level():
    assert set(popularity_levels(events({f"once{n}": 1 for n in range(6)}), 5).values()) == {3}


@given(
    st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 30), min_size=1), st.integers(2, 9), st.randoms()
)
def test_levels_are_within_bounds_rise_with_frequency_and_know_no_order(counts, most, random):
    levels = popularity_levels(events(counts), most)
    rows = events(counts)["item_id"].to_list()
    random.shuffle(rows)
    assert popularity_levels(pl.DataFrame({"item_id": rows}), most) == levels
    assert set(levels) == set(counts)
    assert set(levels.values()) <= set(range(1, most + 1))
    for one in counts:
        for other in counts:
            assert counts[one] < counts[other] or levels[one] >= levels[other]
