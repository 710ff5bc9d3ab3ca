import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import load, make_events, make_items

IDS = [f"i{number:03d}" for number in range(200)]
ITEMS = make_items(*IDS)

rows = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(IDS[:12]), st.integers(0, 4), st.floats(1, 5)), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(rows=rows, seed=st.integers(), shuffle=st.randoms(use_true_random=False))
def test_row_order_changes_nothing(rows, seed, shuffle):
    columns = ("user_id", "item_id", "timestamp", "rating")
    shuffled = rows.copy()
    shuffle.shuffle(shuffled)
    one, two = (load(ITEMS, make_events(*some, columns=columns), seed) for some in (rows, shuffled))
    assert one.interactions.equals(two.interactions)
    assert one.report == two.report
    assert one.fingerprint == two.fingerprint


@settings(max_examples=60, deadline=None)
@given(rows=rows, seed=st.integers(), clock=st.sampled_from(["timestamp", "position"]))
def test_a_sorted_table_which_is_not_sorted_again_comes_out_the_same(rows, seed, clock):
    columns = ("user_id", "item_id", clock, "rating")
    ordered = sorted(rows, key=lambda row: (row[0], row[2]))
    one, two = (load(ITEMS, make_events(*some, columns=columns), seed) for some in (ordered, ordered[::-1]))
    assert one.interactions.equals(two.interactions)
    assert one.report == two.report
    pairs = {row[:2] for row in one.interactions.select("user_id", "item_id").rows()}
    assert one.report.kept_repeats == one.interactions.height - len(pairs)


@settings(max_examples=60, deadline=None)
@given(rows=rows, seed=st.integers(0, 5))
def test_time_is_never_contradicted(rows, seed):
    dataset = load(ITEMS, make_events(*rows, columns=("user_id", "item_id", "timestamp", "rating")), seed)
    for _, part in dataset.interactions.group_by("user_id"):
        assert part["order"].to_list() == list(range(part.height))
        assert part["timestamp"].is_sorted()


def tied(seed, users=40):
    """Every user has 50 items at one moment, each user other ones; the file is sorted by item id."""
    picks = np.random.default_rng(0)
    chosen = {f"u{user}": sorted(picks.choice(IDS, 50, replace=False)) for user in range(users)}
    return load(ITEMS, make_events(*((user, item, 5) for user, items in chosen.items() for item in items)), seed)


def test_ties_do_not_follow_item_ids():
    dataset = tied(seed=7)
    assert dataset.report.tied_events == 40 * 50
    ranks = dataset.interactions.with_columns(id_rank=pl.col("item_id").rank().over("user_id"))
    correlation = ranks.select(pl.corr("order", "id_rank")).item()
    assert abs(correlation) < 0.07  # three standard errors of 2,000 pairs
    last = ranks.filter(pl.col("order") == 49)["id_rank"].mean()
    assert abs(last - 25.5) < 3 * 14.4 / 40**0.5


def test_ties_of_two_users_are_broken_differently():
    events = make_events(*((user, item, 5) for user in "uv" for item in IDS[:30]))
    dataset = load(ITEMS, events)
    assert set(dataset.history("u")) == set(dataset.history("v"))
    assert dataset.history("u") != dataset.history("v")


def test_the_seed_decides_ties_and_nothing_else():
    one, again, other = tied(7), tied(7), tied(8)
    assert one.histories() == again.histories()
    assert one.history("u0") != other.history("u0")
    assert sorted(one.history("u0")) == sorted(other.history("u0"))
    alone = make_events(("u", "i003", 1), ("u", "i001", 2), ("u", "i002", 3))
    assert load(ITEMS, alone, 7).fingerprint == load(ITEMS, alone, 8).fingerprint


def test_equal_positions_of_a_user_are_ties():
    columns = ("user_id", "item_id", "position")
    rows = [("u", item, number // 30) for number, item in enumerate(IDS[:60])]
    histories = {tuple(load(ITEMS, make_events(*rows, columns=columns), seed).history("u")) for seed in range(3)}
    assert len(histories) == 3
    assert all(set(history[:30]) == set(IDS[:30]) for history in histories)
    assert load(ITEMS, make_events(*rows, columns=columns)).report.tied_events == 60
