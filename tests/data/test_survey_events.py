"""The numbers on events that `trsr data check` shows, against the slow obvious way."""

import random
from collections import Counter, defaultdict
from itertools import combinations, pairwise

import polars as pl
import pytest
from scipy.stats import spearmanr

from trsr.config import CandidateConfig, DataConfig, SplitConfig
from trsr.data.candidates import sample_candidates
from trsr.data.dataset import Dataset
from trsr.data.histories import Histories
from trsr.data.splits import make_examples
from trsr.data.survey.activity import gini, survey_activity, survey_popularity
from trsr.data.survey.coded import code_events
from trsr.data.survey.leaks import survey_order
from trsr.data.survey.tasks import survey_tasks
from trsr.data.survey.times import survey_times
from trsr.errors import DataError

DAY = 86_400


def random_events(seed, users=40, items=30, columns=("timestamp",)):
    """Users of one to twelve events: some all at once, some within a day, popular items, ties, repeats, copies."""
    rng = random.Random(seed)
    rows = []
    for user in range(users):
        start, spread = rng.randrange(10**6, 2 * 10**6), rng.choice([0, 60, DAY - 1, DAY, 30 * DAY])
        for place in range(rng.randint(1, 12)):
            row = {"user_id": f"u{user}", "item_id": f"i{int(items * rng.random() ** 2)}", "position": place}
            row["timestamp"] = start + (rng.randint(0, spread) if spread else 0)
            rows.append(row)
    rows += rng.sample(rows, 4)
    rng.shuffle(rows)
    return pl.DataFrame(rows).select("user_id", "item_id", *columns)


def write(folder, events, items=32):
    ids = [f"i{item}" for item in range(items)]
    pl.DataFrame({"item_id": ids, "title": [f"Title {item}" for item in ids]}).write_parquet(folder / "items.parquet")
    events.write_parquet(folder / "interactions.parquet")
    return folder


def surveyed(folder, events_per_part=500_000, **settings):
    config = DataConfig(path=folder, **settings)
    return code_events(Histories(folder, config, 7, events_per_part)), Dataset.from_folder(folder, config, 7)


@pytest.mark.parametrize("columns", [("timestamp",), ("position",), ("timestamp", "position")])
@pytest.mark.parametrize("events_per_part", [20, 500_000])
def test_coded_events_are_those_of_the_dataset(tmp_path, columns, events_per_part):
    """In parts or at once: else a large folder would be told of by other numbers than a run reads."""
    events, dataset = surveyed(write(tmp_path, random_events(1, columns=columns)), events_per_part)
    assert events.report == dataset.report
    assert events.report.exact_repeats > 0
    counts = Counter(dataset.interactions["item_id"])
    assert events.item_counts.tolist() == [counts[item] for item in events.items]
    histories = dataset.histories()
    assert events.users.to_list() == sorted(histories)
    for place, user in enumerate(events.users):
        its = slice(events.starts[place], events.starts[place] + events.history_lengths[place])
        assert Counter(events.items.gather(events.item[its])) == Counter(histories[user])
        assert events.orders[its].tolist() == list(range(len(histories[user])))
    if "timestamp" in columns:
        assert (events.moment // 10**6).tolist() == dataset.interactions["timestamp"].to_list()
    else:
        assert events.moment is None


def test_activity_counts_every_item_and_names_the_longest_history(tmp_path):
    events, dataset = surveyed(write(tmp_path, random_events(2)))
    activity = survey_activity(events)
    histories = dataset.histories()
    longest = max(histories, key=lambda user: len(histories[user]))
    assert len(histories[activity.longest_user]) == len(histories[longest])
    assert activity.per_user.mean == pytest.approx(sum(map(len, histories.values())) / len(histories))
    chosen = set(dataset.interactions["item_id"])
    assert activity.items_without_events == 32 - len(chosen) > 0
    assert activity.per_item.quantiles["min"] == 0
    assert activity.repeated_pairs == sum(len(history) - len(set(history)) for history in histories.values()) > 0


def test_popularity_is_what_counting_by_hand_gives(tmp_path):
    events, dataset = surveyed(write(tmp_path, random_events(3)))
    found = survey_popularity(events)
    counts = sorted((Counter(dataset.interactions["item_id"])[item] for item in events.items), reverse=True)
    pairs = sum(abs(one - other) for one, other in combinations(counts, 2)) * 2
    assert found.gini == pytest.approx(pairs / len(counts) ** 2 / (2 * sum(counts) / len(counts)))
    assert found.top_1_percent == counts[0] / sum(counts)  # 1 % of 32 items is one
    assert found.top_10_percent == sum(counts[:4]) / sum(counts)
    assert found.items_with_few_events == sum(count < 5 for count in counts)
    for share, of_events in found.curve:
        assert of_events == pytest.approx(sum(counts[: round(share * 32)]) / sum(counts))
    assert (found.curve[0], found.curve[-1]) == ((0, 0), (1, 1))


def test_gini_is_0_where_all_are_equal_and_near_1_where_one_has_all():
    assert gini(pl.Series([3, 3, 3]).to_numpy()) == pytest.approx(0)
    assert gini(pl.Series([0] * 99 + [5]).to_numpy()) == pytest.approx(0.99)


def test_cold_share_looks_at_the_latest_tenth(tmp_path):
    rows = [("u", f"i{place % 5}", place) for place in range(18)] + [("v", "i9", 18), ("v", "i1", 19)]
    events, _ = surveyed(write(tmp_path, pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")))
    assert survey_popularity(events).cold_share == 0.5


def test_times_are_what_counting_by_hand_gives(tmp_path):
    events, dataset = surveyed(write(tmp_path, random_events(4, users=80)))
    found = survey_times(events)
    times = defaultdict(list)
    for user, time in dataset.interactions.select("user_id", "timestamp").iter_rows():
        times[user].append(time)
    neighbours = [pair for of_user in times.values() for pair in pairwise(of_user)]
    several = [of_user for of_user in times.values() if len(of_user) > 1]
    spans = [of_user[-1] - of_user[0] for of_user in several]
    assert found.same_second == sum(one == other for one, other in neighbours) / len(neighbours)
    assert found.within_a_day == sum(span < DAY for span in spans) / len(spans)
    assert found.users_at_once == sum(span == 0 for span in spans) > 0
    assert found.at_once == found.users_at_once / len(spans)
    every = dataset.interactions["timestamp"]
    assert (found.first, found.last) == (every.min(), every.max())
    assert sum(found.events_over_time) == len(every)


def test_a_history_of_exactly_a_day_is_not_within_a_day(tmp_path):
    rows = [("u", "i1", 0), ("u", "i2", DAY), ("v", "i1", 0), ("v", "i2", DAY - 1), ("w", "i1", 5)]
    events, _ = surveyed(write(tmp_path, pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")))
    assert survey_times(events).within_a_day == 0.5


def test_orders_that_know_popularity_time_or_ids_are_measured(tmp_path):
    """Rows of items by popularity, ids by first event, and tied events by id: each a way to guess a target."""
    rows = [(f"u{user}", f"i{item}", 100 * item) for item in range(6) for user in range(item + 1)]
    rows += [("v", f"i{item}", 10_000) for item in (0, 1, 3, 2)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    write(tmp_path, events, items=6)
    popular = pl.read_parquet(tmp_path / "items.parquet").reverse()
    popular.write_parquet(tmp_path / "items.parquet")
    coded, _ = surveyed(tmp_path)
    files = tmp_path / "items.parquet", tmp_path / "interactions.parquet"
    found = survey_order(*files, coded)
    counts = [Counter(events["item_id"])[f"i{item}"] for item in range(6)]
    expected = spearmanr(range(6), counts).statistic
    assert (found.id_popularity, found.row_popularity) == (pytest.approx(expected), pytest.approx(-expected))
    assert (found.id_time, found.row_time) == (pytest.approx(1), pytest.approx(-1))
    assert (found.tied_pairs, found.tied_ascending) == (3, pytest.approx(2 / 3))
    turned = events.with_columns(position=-pl.int_range(pl.len()))  # positions say more than rows
    turned.write_parquet(tmp_path / "interactions.parquet")
    assert survey_order(*files, coded).tied_ascending == pytest.approx(1 / 3)
    turned.drop("timestamp").write_parquet(tmp_path / "interactions.parquet")
    assert survey_order(*files, surveyed(tmp_path)[0]).tied_ascending is None


def test_without_time_nothing_is_told_of_it(tmp_path):
    events, _ = surveyed(write(tmp_path, random_events(4, columns=("position",))))
    assert survey_times(events) is None
    assert survey_popularity(events).cold_share is None


@pytest.mark.parametrize("seed", range(4))
def test_splits_have_the_users_that_a_run_would_find(tmp_path, seed):
    events, dataset = surveyed(write(tmp_path, random_events(seed, users=60)), min_history=2)
    data = DataConfig(path=tmp_path, min_history=2)
    for by in ("time", "last", "users"):
        split = SplitConfig(by=by, valid=0.2, test=0.15)
        found = survey_tasks(events, data, split, CandidateConfig())
        counts = {"time": found.by_time, "last": found.by_last, "users": found.by_users}[by]
        frame = make_examples(dataset, split, data, seed=7).frame
        users = dict(frame.group_by("split").agg(pl.col("user_id").n_unique()).iter_rows())
        told = {"train": counts.train, "valid": counts.valid, "test": counts.test}
        if by == "users":  # which users are drawn decides how many of them have enough events
            assert sum(told.values()) == sum(users.values()) == found.users_with_enough
        else:
            assert told == users


@pytest.mark.parametrize(("items", "negatives"), [(32, 20), (32, 21), (32, 24), (34, 24), (40, 30)])
def test_negatives_are_too_few_exactly_where_candidates_cannot_be_drawn(tmp_path, items, negatives):
    events, dataset = surveyed(write(tmp_path, random_events(5), items), min_history=1)
    config = CandidateConfig(negatives=negatives)
    found = survey_tasks(events, DataConfig(path=tmp_path), SplitConfig(), config)
    histories = dataset.histories()
    assert found.most_distinct_items == max(len(set(history)) for history in histories.values())
    last = [(f"{user}@", user, len(history) - 1, history[-1]) for user, history in histories.items()]
    frame = pl.DataFrame(last, schema=["example_id", "user_id", "cut", "item_id"], orient="row")
    impossible = 0
    for row in frame.iter_slices(1):
        try:
            sample_candidates(row, histories, dataset.items["item_id"].to_list(), negatives, seed=1)
        except DataError:
            impossible += 1
    assert found.users_without_negatives == impossible
