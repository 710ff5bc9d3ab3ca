"""`Histories` is judged by `Dataset`, which holds all events at once: the same histories, report and messages."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import CONFIG, make_events, make_items

from trsr.data.dataset import Dataset
from trsr.data.forgetting import forget_events
from trsr.data.histories import Histories, History
from trsr.errors import ConfigError, DataError

ITEMS = make_items(*(f"i{number}" for number in range(6)))
USERS = ("10", "9", "100", "2", "-1", "33", "u-é", "u-z", "u-😀", "U")
EVENTS = make_events(("u", "i1", 20), ("w", "i1", 1), ("u", "i0", 10), ("v", "i2", 5), ("v", "i0", 30))


def write_folder(folder, items=ITEMS, events=EVENTS, rows_per_group=None):
    items.write_parquet(folder / "items.parquet")
    events.write_parquet(folder / "interactions.parquet", row_group_size=rows_per_group)
    return folder


def in_memory(folder, config, seed):
    """What `Dataset` says: its histories with times and its report, or the error it ends with."""
    try:
        dataset = Dataset.from_folder(folder, config, seed)
    except (ConfigError, DataError) as error:
        return type(error), str(error)
    users = dataset.interactions.group_by("user_id", maintain_order=True).agg("item_id", "timestamp")
    return [History(user, tuple(items), tuple(times)) for user, items, times in users.iter_rows()], dataset.report


def in_parts(folder, config, seed, events_per_part=3):
    try:
        histories = Histories(folder, config, seed, events_per_part)
        return list(histories), histories.report
    except (ConfigError, DataError) as error:
        return type(error), str(error)


@st.composite
def tables(draw):
    """Tables with everything that cleaning mends: ties, repeats, gaps, ids of other kinds, a few unknown items."""
    numbers = draw(st.booleans())
    time, position = st.integers(0, 4), st.integers(0, 3)
    gaps = draw(st.sampled_from(["", "time", "position", "time and position"]))
    row = st.tuples(
        st.sampled_from(USERS[:6] if numbers else USERS),
        st.integers(0, 5).map("i{}".format),
        time | st.none() if "time" in gaps else time,
        position | st.none() if "position" in gaps else position,
        st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, None, float("nan")]),
        st.sampled_from([1, 2, None]),
    )
    rows = draw(st.lists(row, min_size=draw(st.sampled_from([1, 25])), max_size=60))
    if len(rows) > 20 and draw(st.booleans()):
        rows[7] = (rows[7][0], "lost", None, *rows[7][3:])
    columns = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "position": pl.Int32}
    events = pl.DataFrame(rows, schema=columns | {"rating": pl.Float64, "weight": pl.Int64}, orient="row")
    needless = {"": ["timestamp", "position"], "time": ["timestamp"], "position": ["position"]}.get(gaps, [])
    without = draw(st.sampled_from([[], ["rating"], ["weight"], *([name] for name in needless)]))
    kind = draw(st.sampled_from([pl.Int64, pl.Int16] if numbers else [pl.String, pl.Categorical]))
    return events.with_columns(draw(st.sampled_from(TIMES)), pl.col("user_id").cast(kind)).drop(without)


TIMES = [
    pl.col("timestamp"),
    pl.col("timestamp").cast(pl.Float64).fill_null(float("nan")) / 2,
    pl.from_epoch(pl.col("timestamp") * 400_000, "us").alias("timestamp"),
]


@settings(max_examples=50, deadline=None)
@given(
    events=tables(),
    seed=st.integers(0, 3),
    minimum=st.sampled_from([None, None, 1, 3, 5]),
    events_per_part=st.sampled_from([1, 3, 7, 1000]),
    rows_per_group=st.sampled_from([2, 1000]),
)
def test_parts_give_what_the_whole_gives(events, seed, minimum, events_per_part, rows_per_group):
    config = CONFIG.model_copy(update={"min_rating": minimum})
    with TemporaryDirectory() as name:
        folder = write_folder(Path(name), events=events, rows_per_group=rows_per_group)
        expected = in_memory(folder, config, seed)
        assert in_parts(folder, config, seed, events_per_part) == expected
        if isinstance(expected[0], list):
            histories = Histories(folder, config, seed, events_per_part)
            assert [histories.of(history.user) for history in expected[0]] == expected[0]


def test_integer_ids_are_unknown_or_known_by_their_digits(tmp_path):
    items = pl.DataFrame({"item_id": [1, 2, 10], "title": ["A", "B", "C"]})
    events = pl.DataFrame({"user_id": [10, 9, 100, 9], "item_id": ["10", "2", "1", "1"], "timestamp": [1, 2, 3, 4]})
    histories = Histories(write_folder(tmp_path, items, events), CONFIG, seed=7, events_per_part=1)
    assert [(history.user, history.items) for history in histories] == [
        ("10", ("10",)),
        ("100", ("1",)),
        ("9", ("2", "1")),
    ]
    assert histories.report.integer_ids == 3 + 4


@pytest.mark.parametrize(
    ("rows", "histories"),
    [
        # The event without a time repeats one with a time, so nothing that is left lacks a time: time orders.
        (
            [("u", "i1", None, 5, 1.0), ("u", "i1", 9, 5, 2.0), ("u", "i2", 1, 6, 1.0)],
            [History("u", ("i2", "i1"), (1, 9))],
        ),
        # Only a user of a late part keeps an event without a time: position orders the users of early parts too.
        (
            [("a", "i1", 9, 0, 1.0), ("a", "i2", 8, 1, 1.0), ("b", "i1", None, 0, 1.0)],
            [History("a", ("i1", "i2"), (9, 8)), History("b", ("i1",), (None,))],
        ),
    ],
)
def test_one_clock_orders_all_parts(tmp_path, rows, histories):
    columns = ("user_id", "item_id", "timestamp", "position", "rating")
    folder = write_folder(tmp_path, events=make_events(*rows, columns=columns))
    assert list(Histories(folder, CONFIG, seed=7, events_per_part=1)) == histories
    assert in_memory(folder, CONFIG, seed=7)[0] == histories


def test_a_user_with_no_event_left_is_nobody(tmp_path):
    rows = [("u", "i1", 1, 5.0), ("v", "i1", 1, 1.0), ("w", "i2", 1, 4.0)]
    folder = write_folder(tmp_path, events=make_events(*rows, columns=("user_id", "item_id", "timestamp", "rating")))
    histories = Histories(folder, CONFIG.model_copy(update={"min_rating": 4.0}), seed=7, events_per_part=1)
    assert [history.user for history in histories] == ["u", "w"]
    for user in ("v", "nobody"):
        with pytest.raises(DataError) as error:
            histories.of(user)
        assert str(error.value) == f"{tmp_path.name}: user {user!r} has no events; check the id"


def test_the_report_is_there_after_the_last_user_and_iterations_are_alike(tmp_path):
    histories = Histories(write_folder(tmp_path), CONFIG, seed=7, events_per_part=2)
    assert (histories.report, histories.users) == (None, None)
    begun = iter(histories)
    first = next(begun)
    whole = list(histories)
    assert whole == [first, *begun] == list(histories)
    assert [history.user for history in whole] == ["u", "v", "w"]
    assert histories.users == 3
    assert histories.report == Dataset.from_folder(tmp_path, CONFIG, seed=7).report


def test_items_and_name_are_those_of_the_dataset(tmp_path):
    items = ITEMS.reverse().with_columns(brand=pl.lit("B"))
    config = CONFIG.model_copy(update={"attributes": ["brand"]})
    folder = write_folder(tmp_path, items)
    histories, dataset = Histories(folder, config, seed=7), Dataset.from_folder(folder, config, seed=7)
    assert histories.items.equals(dataset.items)
    assert (histories.attributes, histories.name) == (dataset.attributes, dataset.name)


UNKNOWN = make_events(("u", "i1", 1), ("u", "x", 2), ("u", "i2", 3), ("u", "a", 4))
COUNTED = make_events(("u", "i1", 1), ("u", "i2", None), columns=("user_id", "item_id", "position"))


@pytest.mark.parametrize(
    ("items", "events", "chosen"),
    [
        (ITEMS.drop("item_id"), EVENTS, {}),
        (ITEMS.with_columns(title=pl.lit("")), EVENTS, {}),
        (ITEMS, EVENTS, {"attributes": ["titel"]}),
        (ITEMS, EVENTS.drop("user_id"), {}),
        (ITEMS, EVENTS.clear(), {}),
        (ITEMS, make_events(("u", "i1", 1), (" ", "i2", 2)), {}),
        (ITEMS, EVENTS.with_columns(user_id=pl.lit(1.5)), {}),
        (ITEMS, EVENTS.with_columns(item_id=None), {}),
        (ITEMS, UNKNOWN, {}),
        (ITEMS, EVENTS.drop("timestamp"), {}),
        (ITEMS, EVENTS.with_columns(timestamp=None), {}),
        (ITEMS, make_events(("u", "i1", 1), ("u", "i2", None)), {}),
        (ITEMS, make_events(("u", "i1", 1.0), ("u", "i2", float("nan"))), {}),
        (ITEMS, COUNTED, {}),
        (ITEMS, EVENTS.with_columns(position=pl.lit(0.5)), {}),
        (ITEMS, EVENTS.with_columns(timestamp=pl.lit("noon")), {}),
        (ITEMS, EVENTS.with_columns(timestamp=pl.col("timestamp") * 170_406_720_000), {}),
        (ITEMS, EVENTS.with_columns(timestamp=pl.lit(2**63 + 1, pl.UInt64)), {}),
        (ITEMS, EVENTS.with_columns(rating=pl.lit("good")), {}),
        (ITEMS, EVENTS.with_columns(weight=pl.lit("big")), {}),
        (ITEMS, EVENTS, {"min_rating": 2.0}),
        (ITEMS, EVENTS.with_columns(rating=1.0), {"min_rating": 2.0}),
    ],
)
def test_a_bad_table_is_refused_in_the_words_of_the_dataset(tmp_path, items, events, chosen):
    folder = write_folder(tmp_path, items, events, rows_per_group=1)
    config = CONFIG.model_copy(update=chosen)
    kind, message = in_memory(folder, config, seed=7)
    assert in_parts(folder, config, seed=7) == (kind, message)
    assert message.startswith((str(folder), "data."))
    assert "\n" not in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:8] + b"\xff" * 40 + data[48:],
        lambda _: b"user_id,item_id\nu,i1\n",
        lambda _: b"",
    ],
)
def test_a_damaged_file_is_refused_in_the_words_of_the_dataset(tmp_path, damage):
    path = write_folder(tmp_path) / "interactions.parquet"
    path.write_bytes(damage(path.read_bytes()))
    kind, message = in_memory(tmp_path, CONFIG, seed=7)
    assert in_parts(tmp_path, CONFIG, seed=7) == (kind, message)
    assert message.startswith(f"{path}: ")


def test_a_missing_folder_or_file_is_refused_in_the_words_of_the_dataset(tmp_path):
    for folder in (tmp_path / "no", tmp_path):
        assert in_parts(folder, CONFIG, seed=7) == in_memory(folder, CONFIG, seed=7)
    ITEMS.write_parquet(tmp_path / "items.parquet")
    assert in_parts(tmp_path, CONFIG, seed=7) == in_memory(tmp_path, CONFIG, seed=7)


def replace_by_a_file_of_the_same_size(path):
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize(
    "change",
    [lambda path: forget_events(path.parent, "user3"), Path.unlink, replace_by_a_file_of_the_same_size],
    ids=["forgotten", "deleted", "replaced"],
)
def test_no_iteration_mixes_two_files(tmp_path, change):
    """A user who was forgotten in between, or one who came twice, would be summarised from two states of the data."""
    many = make_events(*((f"user{number}", "i1", number) for number in range(40)))
    histories = Histories(write_folder(tmp_path, events=many), CONFIG, seed=7, events_per_part=1)
    begun = iter(histories)
    next(begun)
    path = tmp_path / "interactions.parquet"
    change(path)
    message = f"{path}: the file changed while it was read; run again"
    for read in (lambda: list(begun), lambda: list(histories), lambda: histories.of("user9")):
        with pytest.raises(DataError) as error:
            read()
        assert str(error.value) == message
    assert histories.report is None


MEASURED = """
import sys
from pathlib import Path
from trsr.config import DataConfig
from trsr.data.histories import Histories

def peak():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

before = peak()
events = sum(len(history.items) for history in Histories(Path(sys.argv[1]), DataConfig(), 7, 15_000))
print(events, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_users(tmp_path):
    """Five times the users in parts of one size: peak memory above that of the imports stays, within a third."""
    grown = []
    for users in (60_000, 300_000):
        number = pl.int_range(users * 3, eager=True)
        user = (number * 7919 % users).cast(pl.String).str.zfill(40)
        item = "i" + (number % 6).cast(pl.String)
        events = pl.DataFrame({"user_id": user, "item_id": item, "timestamp": number})
        folder = tmp_path / str(users)
        folder.mkdir()
        write_folder(folder, events=events, rows_per_group=20_000)
        command = [sys.executable, "-c", MEASURED, str(folder)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(told[0]) == users * 3
        grown.append(int(told[1]) / 1024)
    assert grown[1] < grown[0] * 1.33 + 20, f"peak growth in MB: {grown}"
