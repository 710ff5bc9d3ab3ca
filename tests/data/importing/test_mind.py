"""MIND as it is published: every click and every history once, in an order that holds over all parts."""

import gzip
import zipfile
from collections import defaultdict
from datetime import UTC, datetime

import polars as pl
import pytest
from whole_imports import imported, quarantined, recognised, write

from trsr.config import DataConfig
from trsr.data.dataset import Dataset
from trsr.errors import DataError

NEWS = "".join(f"N{n}\tnews\tnewsus\tTitle {n}\tThe \"abstract\t\t[]\t[]\n" for n in range(1, 8))  # fmt: skip
TRAIN = (
    "1\tU1\t11/12/2019 2:14:46 PM\tN1 N2 N1\tN3-1 N4-0\n"
    "2\tU2\t11/11/2019 11:00:00 AM\t\tN1-1 N2-0 N3-1\n"
    "3\tU1\t11/11/2019 9:00:00 PM\tN1 N2 N1\tN4-1\n"
    "4\tU3\t11/13/2019 12:00:00 AM\tN5\tN1-0\n"
)
DEV = "1\tU1\t11/15/2019 8:00:00 AM\tN1 N2 N1 N3 N4 N5\tN6-0 N7-1\n2\tU2\t11/15/2019 8:00:00 AM\tN1 N3\tN2-1\n"
TEST = "1\tU1\t11/16/2019 8:00:00 AM\tN1 N2 N1 N3 N4 N5 N7 N6\tN1 N2\n2\tU4\t11/16/2019 8:00:00 AM\tN2\tN3\n"


def at(text: str) -> int:
    return int(datetime.strptime(text, "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC).timestamp())


T1, T2, T3, T4 = (
    at("11/12/2019 14:14:46"),
    at("11/11/2019 11:00:00"),
    at("11/11/2019 21:00:00"),
    at("11/13/2019 0:00:00"),
)
TD, TT = at("11/15/2019 8:00:00"), at("11/16/2019 8:00:00")
OF_TRAIN = {
    "U1": [("N1", None, 0), ("N2", None, 1), ("N1", None, 2), ("N4", T3, 3), ("N3", T1, 4)],
    "U2": [("N1", T2, 0), ("N3", T2, 0)],
    "U3": [("N5", None, 0)],
}
OF_DEV = {"U1": [("N5", None, 5), ("N7", TD, 6)], "U2": [("N2", TD, 1)]}
OF_TEST = {"U1": [("N6", None, 7)], "U4": [("N2", None, 0)]}


def by_user(events: pl.DataFrame) -> dict[str, list]:
    found = defaultdict(list)
    for user, *event in events.select("user_id", "item_id", "timestamp", "position").iter_rows():
        found[user].append(tuple(event))
    return {user: sorted(of_user, key=lambda event: (event[2], event[0])) for user, of_user in found.items()}


def put(folder, **parts):
    return write(
        folder, {f"{part}/{name}.tsv": text for part, tables in parts.items() for name, text in tables.items()}
    )


def test_one_part(tmp_path):
    source = write(tmp_path / "raw", {"news.tsv": NEWS, "behaviors.tsv": TRAIN})
    items, events, report = imported("auto", source, tmp_path)
    assert items.columns == ["item_id", "title", "category", "subcategory", "abstract"]
    assert items.row(0) == ("N1", "Title 1", "news", "newsus", 'The "abstract')
    assert by_user(events) == OF_TRAIN
    assert (report.format, report.users, report.events, report.impressions) == ("mind", 3, 8, 4)
    shown = pl.read_parquet(tmp_path / "made" / "impressions.parquet")
    assert shown.rows() == [
        ("train-1", "U1", T1, "train", ["N3", "N4"], ["N3"]),
        ("train-2", "U2", T2, "train", ["N1", "N2", "N3"], ["N1", "N3"]),
        ("train-3", "U1", T3, "train", ["N4"], ["N4"]),
        ("train-4", "U3", T4, "train", ["N1"], []),
    ]
    assert shown.columns == ["example_id", "user_id", "timestamp", "split", "shown", "clicked"]


def test_a_history_of_a_later_part_adds_what_is_new_behind_what_was_before(tmp_path):
    parts = {
        "MINDsmall_train": {"news": NEWS, "behaviors": TRAIN},
        "MINDsmall_dev": {"news": NEWS, "behaviors": DEV},
        "MINDlarge_test": {"news": NEWS, "behaviors": TEST},
    }
    _, events, report = imported("mind", put(tmp_path / "raw", **parts), tmp_path)
    users = [*OF_TRAIN, *OF_TEST]
    assert by_user(events) == {
        user: OF_TRAIN.get(user, []) + OF_DEV.get(user, []) + OF_TEST.get(user, []) for user in users
    }
    assert report.item_copies == 14
    shown = pl.read_parquet(tmp_path / "made" / "impressions.parquet")
    assert shown["example_id"].to_list() == [*(f"train-{n}" for n in range(1, 5)), "dev-1", "dev-2", "test-1", "test-2"]
    assert shown.filter(split="test").select("shown", "clicked").rows() == [(["N1", "N2"], None), (["N3"], None)]
    dataset = Dataset.from_folder(tmp_path / "made", DataConfig(path=tmp_path), 7)
    assert dataset.history("U1") == ["N1", "N2", "N1", "N4", "N3", "N5", "N7", "N6"]


def test_in_small_blocks_a_history_is_still_taken_once(tmp_path, monkeypatch):
    from memory_files import shrink_blocks

    shrink_blocks(monkeypatch, 30)
    source = write(tmp_path / "raw", {"news.tsv": NEWS, "behaviors.tsv": TRAIN})
    assert by_user(imported("mind", source, tmp_path)[1]) == OF_TRAIN


def test_archives_are_read_as_they_are(tmp_path):
    folder = tmp_path / "zips"
    folder.mkdir()
    for part, behaviors in (("train", TRAIN), ("dev", DEV)):
        with zipfile.ZipFile(folder / f"MINDsmall_{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("behaviors.tsv", behaviors)
            archive.writestr("news.tsv", NEWS)
            archive.writestr("__MACOSX/._news.tsv", "x")
    assert by_user(imported("auto", folder, tmp_path)[1])["U1"] == OF_TRAIN["U1"] + OF_DEV["U1"]
    one, packed = tmp_path / "one", tmp_path / "gz"
    packed.mkdir()
    for name, text in (("news", NEWS), ("behaviors", TRAIN)):
        (packed / f"{name}.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert by_user(imported("auto", packed, one)[1]) == OF_TRAIN
    alone = tmp_path / "alone"
    assert by_user(imported("auto", folder / "MINDsmall_dev.zip", alone)[1])["U2"] == [
        ("N1", None, 0),
        ("N3", None, 1),
        ("N2", TD, 2),
    ]
    assert set(pl.read_parquet(alone / "made" / "impressions.parquet")["split"]) == {"dev"}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("MINDlarge_train", "train"), ("MINDsmall_dev", "dev"), ("MINDlarge_test", "test"), ("dev", "dev"),
        ("mind_latest", "train"), ("my-dev/data", "dev"), ("contest", "train"), ("MINDdemo_train/raw", "train"),
    ],
)  # fmt: skip
def test_the_folder_tells_the_part(tmp_path, folder, split):
    files = {f"{folder}/news.tsv": NEWS, f"{folder}/behaviors.tsv": DEV.replace("-0", "-1")}
    imported("mind", write(tmp_path / "raw", files), tmp_path)
    assert set(pl.read_parquet(tmp_path / "made" / "impressions.parquet")["split"]) == {split}


def test_two_files_of_one_part_are_refused(tmp_path):
    parts = {name: {"news": NEWS, "behaviors": TRAIN} for name in ("MINDsmall_train", "MINDlarge_train")}
    with pytest.raises(DataError, match="are of one part, train; give one"):
        imported("mind", put(tmp_path / "raw", **parts), tmp_path)


def test_bad_rows_are_named(tmp_path):
    behaviors = (
        TRAIN
        + "5\t\t11/12/2019 2:14:46 PM\t\tN1-1\n6\tU1\t2019-11-12 14:14:46\t\tN1-1\n"
        + "7\tU1\t11/12/2019 2:14:46 PM\tN1\tN1\n"
        + "8\tU1\t11/12/2019 2:14:46 PM\tN1\t\n9\tU1\t13/13/2019 2:14:46 PM\tN1\tN1-1\n10\tU1\n"
        + "\tU9\t11/12/2019 2:14:46 PM\tN1\tN1-1\n12\tU9\t11/12/2019 2:14:46 PM\t\tN1-1 N2-2\n"
    )
    news = NEWS + "\tnews\tus\tTitle\t\t\t\t\nN9\tnews\tus\t\tNo title\t\t\t\nN1\tnews\tus\tOther\t\t\t\t\n"
    source = write(tmp_path / "raw", {"news.tsv": news, "behaviors.tsv": behaviors})
    _, events, _ = imported("mind", source, tmp_path, max_bad=0.8)
    assert by_user(events) == OF_TRAIN
    mark = "an item shown that ends neither in -0 nor in -1"
    assert quarantined(tmp_path) == [
        ("behaviors.tsv", 5, "no user"),
        ("behaviors.tsv", 6, "a time that is not like 11/12/2019 2:14:46 PM"),
        ("behaviors.tsv", 7, mark),
        ("behaviors.tsv", 8, "no items shown"),
        ("behaviors.tsv", 9, "a time that is not like 11/12/2019 2:14:46 PM"),
        ("behaviors.tsv", 10, "2 fields where 5 belong"),
        ("behaviors.tsv", 11, "no id of the impression"),
        ("behaviors.tsv", 12, mark),
        ("news.tsv", 8, "no id of a news article"),
        ("news.tsv", 9, "no title"),
        ("news.tsv", 10, "item N1 is described otherwise further up"),
    ]


def test_a_part_without_events_is_one_sentence(tmp_path):
    parts = {"MINDlarge_test": {"news": NEWS, "behaviors": "1\tU1\t11/16/2019 8:00:00 AM\t\tN1 N2\n"}}
    with pytest.raises(DataError, match="no event"):
        imported("mind", put(tmp_path / "raw", **parts), tmp_path)


def test_recognises_its_own_layout_and_no_other(tmp_path):
    assert recognised("mind", tmp_path) == {"mind"}
    with pytest.raises(DataError, match=r"MIND has behaviors.tsv and news.tsv"):
        imported("mind", write(tmp_path / "raw", {"news.tsv": NEWS}), tmp_path)


def test_the_true_files(shared, tmp_path):
    """Against the plainest reading there is: lines and tabs."""
    raw = shared / "data" / "mind_sample" / "raw"
    if not raw.is_dir():
        pytest.skip("no sample of MIND in shared/data")
    news = [line.split("\t") for line in (raw / "news.tsv").read_text(encoding="utf-8").split("\n") if line]
    seen = [line.split("\t") for line in (raw / "behaviors.tsv").read_text(encoding="utf-8").split("\n") if line]
    ids = {row[0] for row in news}
    settings = {"cleaning": {"markup": False, "lists": False, "controls": False, "spaces": False}}
    items, events, report = imported("auto", raw, tmp_path, **settings)
    assert report.bad == 0
    assert items.rows() == [
        (row[0], row[3], row[1], row[2], row[4] or None) for row in news
    ]  # title, category, subcategory, abstract
    expected = defaultdict(set)
    clicks, first = 0, {}
    for _, user, _, history, shown in seen:
        if history:
            first.setdefault(user, history.split())
        chosen = [entry[:-2] for entry in shown.split() if entry.endswith("-1")]
        expected[user] |= set(chosen)
        clicks += len(chosen)
    assert report.events + report.removed["of unknown items"] == clicks + sum(map(len, first.values()))
    for user, history in first.items():
        expected[user] |= set(history)
    for user, of_user in by_user(events).items():
        assert {item for item, *_ in of_user} == expected[user] & ids
    assert report.impressions == len(seen)
    shown = pl.read_parquet(tmp_path / "made" / "impressions.parquet")
    assert shown["shown"].to_list() == [[entry[:-2] for entry in row[4].split()] for row in seen]
    moments = [datetime.strptime(row[2], "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC).timestamp() for row in seen]
    assert shown["timestamp"].to_list() == moments
