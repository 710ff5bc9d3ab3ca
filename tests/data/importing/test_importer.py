"""An import from end to end: the dataset folder appears whole or not at all, and is the same for the same source."""

import json
import os
import random
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_import import FILTERED, MOMENTS
from samples import SAMPLES, movielens
from test_writing import files_of_at_most
from whole_imports import write

from trsr import __version__
from trsr.config import CleaningConfig, DataConfig, FilterConfig, ImportConfig, parse_settings
from trsr.data.dataset import Dataset
from trsr.data.importing import delimited, import_dataset, importer
from trsr.data.importing.blocks import blocks
from trsr.data.importing.reader import choose_reader
from trsr.data.importing.source import Source
from trsr.errors import ConfigError, DataError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def source(tmp_path) -> Path:
    return put(tmp_path / "raw", movielens())


def put(folder: Path, files) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_the_folder_holds(source, tmp_path):
    movies = "1,<b>Heat</b> (1995),Action\n2,Heat 2,\n2,Heat 2,\n2,Heat II,\n,No id,\n3,Ran (1985),Drama\n"
    ratings = "userId,movieId,rating,timestamp\n1,1,4,10\n1,2,2,20\n2,1,5,30\n2,9,5,40\n2,1\n2,3,5,50\n"
    write(source, {"movies.csv": f"movieId,title,genres\n{movies}", "ratings.csv": ratings})
    config = ImportConfig(max_bad=0.4, filters=FilterConfig(min_rating=3), names={"title": "name"})
    report = import_dataset("auto", source, tmp_path / "made", config)
    made = tmp_path / "made"
    assert names(made) == {"items.parquet", "interactions.parquet", "import.json", "quarantine.jsonl"}
    items = pl.read_parquet(made / "items.parquet")
    assert items.rows() == [("1", "Heat", 1995, ["Action"]), ("2", "Heat 2", None, None), ("3", "Ran", 1985, ["Drama"])]
    assert items.columns == ["item_id", "name", "year", "genres"]
    events = pl.read_parquet(made / "interactions.parquet")
    assert events.select("user_id", "item_id", "timestamp", "rating").rows() == [
        ("1", "1", 10, 4.0),
        ("2", "1", 30, 5.0),
        ("2", "3", 50, 5.0),
    ]
    content = json.loads((made / "import.json").read_text(encoding="utf-8"))
    assert content == report.as_dict() | {"config": config.model_dump(mode="json")}
    assert content.pop("seconds") >= 0
    assert content.pop("config")["filters"]["min_rating"] == 3
    assert content == {
        "format": "movielens",
        "recognised": content["recognised"],
        "version": __version__,
        "items": 3,
        "users": 2,
        "events": 3,
        "impressions": 0,
        "attributes": ["name", "year", "genres"],
        "files": [{"file": "movies.csv", "rows": 6, "bad": 2}, {"file": "ratings.csv", "rows": 6, "bad": 1}],
        "removed": {"of unknown items": 1, "rated below 3 or not rated": 1},
        "cleaned": content["cleaned"],
        "item_copies": 1,
        "notes": content["notes"],
        "bad": 3,
    }
    assert content["cleaned"]["HTML tags"] == 1
    bad = [json.loads(line) for line in (made / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["file"], row["line"]) for row in bad] == [("movies.csv", 5), ("movies.csv", 6), ("ratings.csv", 6)]
    told = report.lines()
    assert told[1:3] == ["movies.csv: 6 rows, 2 bad", "ratings.csv: 6 rows, 1 bad"]
    assert told[-1].startswith("2 users, 3 events, 3 items; attributes: name, year, genres; ")


def test_attributes_are_taken_in_the_order_that_is_wanted(source, tmp_path):
    import_dataset("movielens", source, tmp_path / "made", ImportConfig(attributes=["genres", "title"]))
    assert pl.read_parquet(tmp_path / "made" / "items.parquet").columns == ["item_id", "genres", "title"]


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"attributes": ["titel"]}, "no 'titel'; known: title, year, genres"),
        ({"names": {"titel": "x"}}, "no 'titel'"),
        ({"names": {"title": "year"}}, "one name"),
        ({"names": {"title": "item_id"}}, "one name"),
        ({"locale": "UK"}, "has no locales"),
        (
            {
                "tables": {
                    "items": {"file": "a", "columns": {"item": "a"}},
                    "interactions": {"file": "b", "columns": {"item": "a", "user": "b"}},
                }
            },
            "tables: format movielens has columns of its own",
        ),
        ({"filters": {"core": 50}}, "no event is left"),
        ({"filters": {"since": datetime(2100, 1, 1)}}, "no event is left"),
    ],
)
def test_settings_that_do_not_fit_leave_nothing_behind(source, tmp_path, settings_, words):
    with pytest.raises((ConfigError, DataError), match=words):
        import_dataset("movielens", source, tmp_path / "made", parse_settings(ImportConfig, settings_, "test"))
    assert names(tmp_path) == {"raw"}


def test_formats(source, tmp_path):
    assert choose_reader("auto", Source(source))[0].name == "movielens"
    assert choose_reader("movielens", Source(source))[1] == "named"
    with pytest.raises(ConfigError, match="format csv: unknown; take auto, trsr, mind"):
        choose_reader("csv", Source(source))
    with pytest.raises(DataError, match=r"no known format \(notes.txt\)"):
        choose_reader("auto", Source(put(tmp_path / "other", {"notes.txt": b"x"})))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_source_gives_the_same_bytes(name, tmp_path, monkeypatch):
    reader, files, settings_ = SAMPLES[name]
    config = parse_settings(ImportConfig, settings_, "test")
    folder = put(tmp_path / "raw", files())
    for made in ("one", "two"):
        import_dataset(reader, folder, tmp_path / made, config)
    monkeypatch.setattr(delimited, "blocks", lambda stream, quote=b"": blocks(stream, quote, 16))
    import_dataset(reader, folder, tmp_path / "in small blocks", config)
    for file in (tmp_path / "one").glob("*.parquet"):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        assert pl.read_parquet(file).equals(pl.read_parquet(tmp_path / "in small blocks" / file.name))


# whole or not at all


@pytest.fixture
def killed(source, tmp_path):
    """Runs that kill themselves at each moment, all at once."""
    program = str(Path(__file__).with_name("killed_import.py"))
    env = os.environ | {"PYTHONPATH": str(Path(importer.__file__).parents[3])}
    runs = {}
    for moment in MOMENTS:
        folder = tmp_path / moment
        folder.mkdir()
        import_dataset("movielens", source, folder / "there")
        how = ["there", "replace"] if moment in ("items written", "last rename") else ["made"]
        runs[moment] = subprocess.Popen([sys.executable, program, moment, source, folder / how[0], *how[1:]], env=env)
    return {moment: run.wait() for moment, run in runs.items()}


def test_a_killed_import_leaves_no_destination_and_the_old_one_as_it_was(killed, tmp_path):
    assert killed == dict.fromkeys(MOMENTS, -signal.SIGKILL)
    for moment in MOMENTS:
        left = names(tmp_path / moment)
        assert "made" not in left
        assert all(name == "there" or (name.startswith(".") and name.endswith(".partial")) for name in left), left
        dataset = Dataset.from_folder(tmp_path / moment / "there", DataConfig(path=tmp_path), 7)
        assert len(dataset.interactions) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ConfigError, OSError])
@pytest.mark.parametrize("moment", ["first rows", "items written", "filters", "report"])
def test_an_error_leaves_nothing_behind_and_the_old_folder_as_it_was(source, tmp_path, monkeypatch, error, moment):
    import_dataset("movielens", source, tmp_path / "there")
    before = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}

    def fails(*_, **__):
        raise error("stop")

    owner, name = MOMENTS[moment]
    monkeypatch.setattr(owner, name, fails)
    for made, replace in (("made", False), ("there", True)):
        with pytest.raises(error):
            import_dataset("movielens", source, tmp_path / made, FILTERED, replace=replace)
    assert names(tmp_path) == {"raw", "there"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == before


def test_too_many_bad_rows_leave_nothing_behind(source, tmp_path):
    with (source / "ratings.csv").open("ab") as file:
        file.write(b"1,2\n")
    with pytest.raises(DataError, match="1 of 11 rows are bad"):
        import_dataset("movielens", source, tmp_path / "made")
    assert names(tmp_path) == {"raw"}


def test_a_full_disk_is_one_sentence_and_leaves_nothing(source, tmp_path):
    rows = "".join(f"{n},Film {random.Random(n).random()} (1999),Drama\n" for n in range(5000))
    write(source, {"movies.csv": "movieId,title,genres\n" + rows})
    with files_of_at_most(30_000), pytest.raises(ConfigError, match=r"made: cannot be written: File too large"):
        import_dataset("movielens", source, tmp_path / "made")
    assert names(tmp_path) == {"raw"}


def test_a_destination_that_is_there_is_replaced_only_when_told(source, tmp_path):
    made = tmp_path / "made"
    import_dataset("movielens", source, made)
    (made / "own notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already; choose another name or add --replace"):
        import_dataset("movielens", source, made)
    assert (made / "own notes.txt").exists()
    import_dataset("movielens", source, made, replace=True)
    assert names(made) == {"items.parquet", "interactions.parquet", "import.json"}
    assert names(tmp_path) == {"raw", "made"}


def test_a_destination_that_is_no_dataset_folder_is_never_replaced(source, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("home", "file"):
        with pytest.raises(ConfigError, match="is there and no dataset folder"):
            import_dataset("movielens", source, tmp_path / name, replace=True)
    assert names(tmp_path) == {"raw", "home", "file"}


def test_source_and_destination_are_never_in_each_other(source, tmp_path):
    made = tmp_path / "made"
    import_dataset("movielens", source, made)
    source.rename(made / "raw")
    for name, replace in (("raw/made", False), ("raw", True)):
        with pytest.raises(ConfigError, match="lies inside the source"):
            import_dataset("movielens", made / "raw", made / name, replace=replace)
    with pytest.raises(ConfigError, match="the source is in it"):
        import_dataset("movielens", made / "raw", made, replace=True)
    other = put(tmp_path / "other", movielens())
    with pytest.raises(ConfigError, match="the source is in it"):
        import_dataset("movielens", other, made, more=[made / "raw"], replace=True)
    assert names(made / "raw") == set(movielens())


def test_names_of_folders_are_no_patterns(source, tmp_path):
    (tmp_path / "data1").mkdir()
    made = tmp_path / "data[1] *?" / "x"
    assert import_dataset("movielens", source, made).events == 10
    assert pl.read_parquet(made / "interactions.parquet", glob=False).height == 10


def test_a_panic_of_polars_is_one_sentence(source, tmp_path, monkeypatch):
    def panics(*_):
        raise pl.exceptions.PanicException("index out of bounds")

    for owner, name in (
        (delimited.Delimited, "_fast"),
        (importer, "filter_events"),
        (importer, "clean_texts"),
        (importer, "choose_reader"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, panics)
            with pytest.raises(DataError, match="is damaged; fetch or write it again"):
                import_dataset("movielens", source, tmp_path / "made", FILTERED)
    assert names(tmp_path) == {"raw"}


def test_a_sentence_stays_one_line_whatever_the_source_says(source, tmp_path):
    (source / "ratings.csv").write_bytes(b'"user\nId\x1b[2J",' + b"x" * 9000 + b"\n1,2\n")
    with pytest.raises(DataError) as raised:
        import_dataset("movielens", source, tmp_path / "made")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2100


def test_a_file_whose_name_is_no_text(source, tmp_path):
    folder = source / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system wants names of UTF-8")
    for name in ("movies.csv", "ratings.csv"):
        (source / name).rename(folder / name)
    report = import_dataset("movielens", source, tmp_path / "made")
    assert report.events == 10
    assert "caf\\udce9/movies.csv" in (tmp_path / "made" / "import.json").read_text(encoding="utf-8")


# any text, any order

ANY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12).filter(str.strip)
OFF = CleaningConfig(markup=False, lists=False, controls=False, spaces=False)
TABLES = {
    "items": {"file": "items.csv", "columns": {"item": "id", "attributes": {"title": "title", "text": "text"}}},
    "interactions": {"file": "events.jsonl", "columns": {"user": "user", "item": "id", "time": "at"}},
}


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_any_text_and_any_order_of_events_survive(texts, rng):
    import tempfile

    items = [(f"i{number}", *both) for number, both in enumerate(texts)]
    events = [(rng.choice("uvw"), rng.choice(items)[0], at) for at in range(2 * len(items))]
    rng.shuffle(events)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "raw"
        folder.mkdir()
        frame = pl.DataFrame(items, schema=["id", "title", "text"], orient="row")
        frame.write_csv(folder / "items.csv", quote_style="always")
        lines = (json.dumps({"user": user, "id": item, "at": at}) for user, item, at in events)
        (folder / "events.jsonl").write_text("\n".join(lines))
        config = parse_settings(ImportConfig, {"cleaning": OFF.model_dump(), "tables": TABLES}, "test")
        report = import_dataset("table", folder, Path(name) / "made", config)
        assert report.bad == 0
        made = pl.read_parquet(Path(name) / "made" / "items.parquet")
        dataset = Dataset.from_folder(Path(name) / "made", DataConfig(path=folder), 7)
    as_lines = [tuple(text.replace("\r\n", "\n") for text in item) for item in items]
    assert made.rows() == as_lines
    histories: dict[str, list[str]] = {}
    for user, item, _ in sorted(events, key=lambda event: event[2]):
        histories.setdefault(user, []).append(item)
    assert dataset.histories() == histories


def test_many_events_of_items_that_are_not_described_are_told(source, tmp_path):
    with (source / "ratings.csv").open("ab") as file:
        file.write(b"1,999,4.0,5\n")
    report = import_dataset("movielens", source, tmp_path / "made")
    assert report.removed["of unknown items"] == 1
    assert "1 of 11 events name items that the source does not describe" in " ".join(report.lines())
    assert pl.read_parquet(tmp_path / "made" / "interactions.parquet").height == report.events == 10
