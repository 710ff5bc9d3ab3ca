"""What holds for a store in a PostgreSQL database, and what its URL may look like."""

import sys
from urllib.parse import quote_plus

import pytest
from sqlalchemy import create_engine, text
from store_cases import calls, put

from trsr.errors import ConfigError
from trsr.summaries.store import SummaryStore, postgres
from trsr.summaries.store import store as store_module

END_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def url(postgres_server):
    return postgres_server.new_database()


def execute(url, *statements):
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def assert_one_sentence(error, url):
    assert str(error.value).startswith(f"{url}: ")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+psycopg"])
def test_the_database_is_named_without_its_driver(url, kind):
    with SummaryStore(url.replace("postgresql:", f"{kind}:")) as store:
        assert store.place.startswith("postgresql://trsr@/store")


def test_another_programs_database_is_refused_and_left_alone(url):
    execute(url, "CREATE TABLE calls (key text)")
    with pytest.raises(ConfigError, match="holds tables of another program; give a database of its own"):
        SummaryStore(url)
    execute(url, "INSERT INTO calls VALUES ('a recipe')")


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be connected to .* check the URL and that the server runs") as error:
        SummaryStore(f"postgresql://me:se%40cret@/mine?host={tmp_path}&password=hidden")
    assert_one_sentence(error, f"postgresql://me@/mine?host={quote_plus(str(tmp_path))}")
    assert "cret" not in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "fact"),
    [
        ("postgresql://me:se@cret@host/mine", "has an @ too many"),
        ("postgresql://me:secret", "cannot be read"),
        ("postgresql://me:pass@host:secret/mine", "cannot be read"),
        ("://secret", "cannot be read"),
        ("mysql://me:secret@host/mine", "of kind mysql names no store; give a path, sqlite:///PATH or postgresql://"),
        ("sqlite://", "of kind sqlite names no store"),
        ("sqlite:///calls.sqlite?mode=secret", "of kind sqlite names no store"),
    ],
)
def test_a_url_that_names_no_store_is_refused_without_showing_it(url, fact):
    with pytest.raises(ConfigError, match=fact) as error:
        SummaryStore(url)
    assert "secret" not in str(error.value)
    assert "cret" not in str(error.value).replace("postgresql://USER", "")
    assert "\n" not in str(error.value)


def test_without_psycopg_the_message_is_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as error:
        SummaryStore("postgresql://me:secret@host/mine")
    assert str(error.value) == "postgresql://me@host/mine: PostgreSQL needs psycopg: pip install 'trsr[postgres]'"


def test_a_writer_that_waits_too_long_says_so(url, monkeypatch):
    with SummaryStore(url) as store, SummaryStore(url) as other:
        monkeypatch.setattr(postgres, "BUSY_SECONDS", 0.1)
        with other._database.writing(), pytest.raises(ConfigError, match="held by another process") as error:
            store.put_many(calls("one"), "m")
        assert_one_sentence(error, store.place)
        store.put_many(calls("one"), "m")


def test_a_reader_does_not_wait_for_a_writer(url):
    with SummaryStore(url) as store, SummaryStore(url) as other:
        put(store, "u1", "one")
        with other._database.writing():
            assert store.current("u1", "recurrent").steps == ("one",)


def test_a_database_that_may_not_be_written_is_reported(url):
    SummaryStore(url).close()
    execute(
        url,
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest",
    )
    with SummaryStore(url.replace("trsr@", "guest@")) as store:
        assert store.get_many(["k"]) == {}
        with pytest.raises(ConfigError, match="cannot be written; give a database in which you may") as error:
            store.put_many(calls("one"), "m")
        assert_one_sentence(error, store.place)


def test_a_connection_that_died_between_two_calls_is_made_anew(url):
    with SummaryStore(url) as store:
        store.put_many(calls("one"), "m")
        execute(url, END_ALL)
        assert store.get_many(list(calls("one"))) == calls("one")


def test_a_connection_that_dies_in_a_call_is_reported(url, monkeypatch):
    insert = store_module.insert_new

    def insert_late(connection, *arguments):
        execute(url, END_ALL)
        insert(connection, *arguments)

    with SummaryStore(url) as store:
        monkeypatch.setattr(store_module, "insert_new", insert_late)
        with pytest.raises(ConfigError, match=r"the connection was lost .* what was stored is kept$") as error:
            store.put_many(calls("one"), "m")
        assert_one_sentence(error, store.place)


def test_ids_are_in_the_order_of_code_points_whatever_the_language_of_the_database(url):
    query = """
        SELECT DISTINCT table_name, collation_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type = 'text' ORDER BY table_name
    """
    with SummaryStore(url) as store, store._database.engine.connect() as connection:
        names = ["call_users", "calls", "profile_calls", "profiles"]
        assert connection.execute(text(query)).all() == [(name, "C") for name in names]
