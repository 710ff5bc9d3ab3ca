"""What holds for a store in a SQLite file."""

import os
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event
from store_cases import calls, put
from summary_fakes import FakeGenerator, histories, jobs, make_runner

from trsr.errors import ConfigError
from trsr.llm.protocol import Generation
from trsr.summaries.store import SummaryStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "calls.sqlite"


def some(number, size=10):
    return calls(*(f"{at}" + "x" * size for at in range(number)))


def query(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


def limit_connections(store, pragma):
    """Make the file behind an open store fail the way a full disk or a lost permission does."""
    engine = store._database.engine
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute(pragma).close())


def pages(path):
    return query(path, "PRAGMA page_count")[0][0]


def assert_one_sentence(error, path):
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


def test_the_file_says_which_model_wrote_and_when(path):
    with SummaryStore(path) as store:
        store.put_many(some(1), "model-a")
    [(model, created)] = query(path, "SELECT model, created FROM calls")
    assert model == "model-a"
    assert created > 1_700_000_000
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_path_as_text_or_url_is_the_same_file(path, form):
    with SummaryStore(path) as store:
        store.put_many(some(1), "m")
    with SummaryStore(form.format(path)) as store:
        assert store.get_many(list(some(1))) == some(1)
        assert store.place == str(path)


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "mine.sqlite"
    query(path, "CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not a summary store") as error:
        SummaryStore(path)
    assert_one_sentence(error, path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("notes\n" * 1000)
    with pytest.raises(ConfigError, match="not a summary store") as error:
        SummaryStore(path)
    assert_one_sentence(error, path)
    assert path.read_text() == "notes\n" * 1000


def test_a_damaged_store_is_reported(path):
    with SummaryStore(path) as store:
        store.put_many(some(2000), "m")
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with SummaryStore(path) as store, pytest.raises(ConfigError, match="damaged; move the file away") as error:
        store.get_many(some(2000))
    assert_one_sentence(error, path)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "runs" / "calls.sqlite"
    with pytest.raises(ConfigError, match="give another path") as error:
        SummaryStore(path)
    assert_one_sentence(error, path)


def test_a_folder_in_place_of_the_file_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="cannot be opened as a file") as error:
        SummaryStore(tmp_path)
    assert_one_sentence(error, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported(path):
    path.parent.mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="folder that you may write") as error:
        SummaryStore(path)
    assert_one_sentence(error, path)


@pytest.mark.parametrize(
    ("pragma", "fact"),
    [("PRAGMA query_only=1", "folder that you may write"), ("PRAGMA max_page_count=1", "the disk is full; free some")],
)
def test_a_write_that_fails_is_reported_and_stores_none_of_its_calls(path, pragma, fact):
    with SummaryStore(path) as store:
        store.put_many({"kept": Generation("kept", 1, 1)}, "m")
        limit_connections(store, pragma)
        with pytest.raises(ConfigError, match=fact) as error:
            store.put_many(some(50, size=500), "m")
        assert_one_sentence(error, path)
    with SummaryStore(path) as store:
        assert store.get_many([*some(50), "kept"]) == {"kept": Generation("kept", 1, 1)}


def test_a_store_that_cannot_be_written_forgets_nothing_and_says_so(path):
    with SummaryStore(path) as store:
        put(store, "u1", "a secret")
        limit_connections(store, "PRAGMA query_only=1")
        with pytest.raises(ConfigError, match="folder that you may write"):
            store.forget("u1")
    with SummaryStore(path) as store:
        assert store.forget("u1").calls == 1
    assert b"a secret" not in path.read_bytes()


def test_a_run_on_a_disk_that_fills_up_continues_when_there_is_room(path):
    SummaryStore(path).close()
    with SummaryStore(path) as store:
        limit_connections(store, f"PRAGMA max_page_count={pages(path) + 2}")
        full = make_runner(FakeGenerator(), store)
        with pytest.raises(ConfigError, match="the disk is full"):
            list(full.run(jobs(histories(100))))
    with SummaryStore(path) as store:
        runner = make_runner(FakeGenerator(), store)
        assert len(list(runner.run(jobs(histories(100))))) == 100
    assert full.counts.made.calls > 0
    assert len(runner.generator.calls) == 300 - full.counts.made.calls
