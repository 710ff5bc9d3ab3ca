"""Upgrades: stores of older versions of trsr, and of newer ones."""

import multiprocessing
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_cases import calls, key_of, make_v1, open_beside_others, put

from trsr.errors import ConfigError
from trsr.llm.protocol import Generation
from trsr.summaries.store import SummaryStore, layout, schema, sqlite

TEXTS = [f"text {number}" for number in range(2000)]


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "runs" / "calls.sqlite"
    make_v1(path, TEXTS)
    return path


def pragma(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_store_of_trsr_0_1_keeps_its_texts_and_takes_profiles(old):
    with SummaryStore(old) as store:
        assert store.get_many(list(calls(*TEXTS))) == calls(*TEXTS)
        put(store, "u1", TEXTS[0], "new")
    with SummaryStore(old) as store:
        assert store.current("u1", "recurrent").steps == (TEXTS[0], "new")
        assert store.get_many([key_of(TEXTS[1])]) == {key_of(TEXTS[1]): Generation(TEXTS[1], 10, 2)}
    assert pragma(old, "user_version") == schema.SCHEMA_VERSION == 2


def test_the_tables_are_those_that_queries_are_written_for(place):
    with SummaryStore(place) as store, store._database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.METADATA) == []


def test_an_upgraded_store_has_the_same_tables(old):
    with SummaryStore(old) as store, store._database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.METADATA) == []


def test_processes_that_open_an_old_store_at_once_upgrade_it_once(old):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [context.Process(target=open_beside_others, args=(old, barrier, TEXTS)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    with SummaryStore(old) as store:
        assert len(store.versions("new", "recurrent")) == 1


def test_threads_may_open_new_stores_at_once(tmp_path):
    def open_one(number):
        with SummaryStore(tmp_path / f"{number}.sqlite") as store:
            put(store, "u1", f"text {number}")
            return store.current("u1", "recurrent").summary

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(open_one, range(8))) == [f"text {number}" for number in range(8)]


def test_an_upgrade_that_fails_leaves_the_old_store(old, monkeypatch):
    def upgrade_and_fail(*arguments):
        layout.bring_up_to_date(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "bring_up_to_date", upgrade_and_fail)
        with pytest.raises(KeyboardInterrupt):
            SummaryStore(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("calls",)]
    assert pragma(old, "user_version") == 1
    with SummaryStore(old) as store:
        assert store.get_many([key_of(TEXTS[0])])


def test_a_newer_file_is_refused(tmp_path):
    path = tmp_path / "calls.sqlite"
    SummaryStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError) as error:
        SummaryStore(path)
    assert str(error.value) == f"{path}: summary store of version 99, this trsr knows up to 2; upgrade trsr"


def test_a_newer_database_is_refused(postgres_server):
    url = postgres_server.new_database()
    with SummaryStore(url) as store, store._database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '99'")
    with pytest.raises(ConfigError, match=r"summary store of version 99, this trsr knows up to 2; upgrade trsr$"):
        SummaryStore(url)


def test_an_upgrade_is_silent_and_leaves_logging_alone(tmp_path):
    """In a process of its own: nothing on either stream, no handler, no changed level, no logger turned off."""
    program = (
        "import logging; mine = logging.getLogger('mine'); from trsr.summaries.store import SummaryStore;"
        f"SummaryStore({str(tmp_path / 'calls.sqlite')!r}).close();"
        "assert not logging.root.handlers and logging.root.level == logging.WARNING;"
        "assert not mine.disabled and not logging.getLogger('alembic').level"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_an_open_of_a_current_store_does_not_wait_for_alembic(tmp_path):
    path = str(tmp_path / "calls.sqlite")
    SummaryStore(path).close()
    program = (
        "import sys; from trsr.summaries.store import SummaryStore;"
        f"SummaryStore({path!r}).close(); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
