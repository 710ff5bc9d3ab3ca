import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event
from store_cases import calls, key_of, make_v1, put, record

from trsr.errors import ConfigError
from trsr.llm.protocol import Generation
from trsr.summaries.store import Forgotten, SummaryStore, sqlite
from trsr.summaries.store import store as store_module

LONG = "a secret that fills pages, number {0} of them; " * 400


@pytest.fixture
def store(place):
    with SummaryStore(place) as store:
        yield store


def bytes_of(path):
    """Everything in the folder of a SQLite store: the file, its log and whatever else is there."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_what_is_theirs_alone_goes_and_what_others_share_stays(store):
    put(store, "u1", "shared", "mine")
    put(store, "u1", "shared", "mine", "mine again")
    put(store, "u1", "mine", method="hierarchical")
    other = put(store, "u2", "shared", "other")
    assert store.forget("u1") == Forgotten(profiles=3, calls=2, kept_shared_calls=1, unowned_calls=0)
    assert store.versions("u1", "recurrent") == store.versions("u1", "hierarchical") == []
    assert store.inputs_of(["u1", "u2"], "recurrent") == {"u2": other.inputs}
    assert store.get_many(list(calls("shared", "mine", "mine again", "other"))) == calls("shared", "other")
    assert store.current("u2", "recurrent").steps == ("shared", "other")


def test_calls_of_a_run_that_was_killed_before_the_profile_go_too(store):
    store.put_many(calls("one", "two"), "m", {key_of("one"): ["u1"], key_of("two"): ["u1", "u2"]})
    assert store.forget("u1") == Forgotten(profiles=0, calls=1, kept_shared_calls=1, unowned_calls=0)
    assert store.get_many(list(calls("one", "two"))) == calls("two")
    assert store.forget("u2") == Forgotten(profiles=0, calls=1, kept_shared_calls=0, unowned_calls=0)
    assert store.get_many(list(calls("two"))) == {}


def test_a_call_that_was_found_belongs_to_who_asked_for_it_too(store):
    put(store, "u1", "one")
    store.put_users({key_of("one"): ["u2"]})
    assert store.forget("u1").kept_shared_calls == 1
    assert store.forget("u2").calls == 1


def test_a_text_is_kept_for_another_profile_that_has_no_other_note(store):
    store.put_many(calls("one"), "m", {key_of("one"): ["u1"]})
    store.put_profiles([record("u2", "one")])
    assert store.forget("u1") == Forgotten(profiles=0, calls=0, kept_shared_calls=1, unowned_calls=0)
    assert store.current("u2", "recurrent").steps == ("one",)


def test_nobody_is_forgotten_in_peace(store):
    put(store, "u1", "one")
    assert store.forget("nobody") == Forgotten(0, 0, 0, 0)
    assert store.current("u1", "recurrent").steps == ("one",)


def test_a_user_can_come_back(store):
    before = put(store, "u1", "one", "two")
    store.forget("u1")
    assert put(store, "u1", "one", "two") == before
    assert store.current("u1", "recurrent").steps == ("one", "two")


def test_more_texts_than_fit_into_a_query(store):
    texts = [f"text {number}" for number in range(2000)]
    store.put_many(calls(*texts), "m", {key_of(text): ["u1"] for text in texts})
    store.put_profiles([record("u1", *texts[:at]) for at in (1, 1000, 2000)])
    put(store, "u2", "other")
    assert store.forget("u1").calls == 2000
    assert store.get_many(list(calls(*texts, "other"))) == calls("other")


def test_texts_without_a_user_are_not_silently_left(store):
    put(store, "u1", "one")
    store.put_many(calls("whose?", "linked later"), "m")
    with pytest.raises(ConfigError, match="2 texts have no user, so none can be proved not to be of 'u1'; "):
        store.forget("u1")
    assert store.current("u1", "recurrent").steps == ("one",)
    store.put_users({key_of("linked later"): ["u2"]})
    assert store.forget("u1", drop_unowned=True) == Forgotten(1, 1, 0, 1)
    assert store.get_many(list(calls("whose?", "linked later"))) == calls("linked later")


def test_a_run_that_still_writes_is_noticed(store, monkeypatch):
    put(store, "u1", "one")
    remove = store_module.remove

    def leave_behind(connection, removal):
        remove(connection, removal)
        store_module._link(connection, {key_of("late"): ["u1"]})

    monkeypatch.setattr(store_module, "remove", leave_behind)
    with pytest.raises(ConfigError, match=r"1 rows of user 'u1' are there after .* forget again$"):
        store.forget("u1")


def test_no_byte_of_it_is_left_in_the_file(tmp_path):
    path = tmp_path / "store" / "calls.sqlite"
    secrets = [LONG.format(number) for number in range(20)]
    kept = [f"of another user {number} " * 50 for number in range(20)]
    with SummaryStore(path) as store, SummaryStore(path) as beside:
        for number in range(20):
            put(store, "u1-unique-name", *secrets[: number + 1], summary=f"in short, secret {number}")
            put(store, "u2", kept[number])
        assert beside.current("u1-unique-name", "recurrent").steps == tuple(secrets)
        before = bytes_of(path)
        assert b"a secret that" in before
        store.forget("u1-unique-name")
        for content in (bytes_of(path), path.read_bytes()):
            assert b"a secret that" not in content
            assert b"in short, secret" not in content
            assert b"u1-unique-name" not in content
            assert not any(key_of(secret).encode() in content for secret in secrets)
        assert beside.current("u2", "recurrent").steps == (kept[-1],)
    assert len(bytes_of(path)) < len(before) / 2


def test_a_reader_that_holds_the_log_is_named_and_the_next_try_clears_it(tmp_path, monkeypatch):
    path = tmp_path / "store" / "calls.sqlite"
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    with SummaryStore(path) as store:
        put(store, "u1", LONG)
        with closing(store._database.engine.raw_connection()) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM calls").fetchall()
            with pytest.raises(ConfigError, match="still in the file's log; end the processes"):
                store.forget("u1")
            reader.rollback()
        assert store.forget("u1") == Forgotten(0, 0, 0, 0)
        assert b"a secret that" not in bytes_of(path)


def test_what_an_earlier_deletion_left_in_free_pages_goes_too(tmp_path):
    path = tmp_path / "store" / "calls.sqlite"
    with SummaryStore(path) as store:
        put(store, "u1", LONG)
        with closing(sqlite3.connect(path)) as careless:
            careless.executescript("PRAGMA secure_delete=OFF; DELETE FROM calls; PRAGMA wal_checkpoint(TRUNCATE)")
        assert b"a secret that" in path.read_bytes()
        assert store.forget("u1") == Forgotten(profiles=1, calls=0, kept_shared_calls=0, unowned_calls=0)
        assert b"a secret that" not in bytes_of(path)


def test_where_there_is_no_room_to_write_the_file_anew_it_is_cleared_in_place(tmp_path, monkeypatch):
    def full(*_):
        raise ConfigError("the disk is full")

    path = tmp_path / "store" / "calls.sqlite"
    monkeypatch.setattr(sqlite.SqliteDatabase, "erase", full)
    with SummaryStore(path) as store:
        engine = store._database.engine
        engine.dispose()  # Debian's SQLite clears by default, most others do not
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete=OFF").close())
        put(store, "u1", LONG)
        with pytest.raises(ConfigError, match="the disk is full"):
            store.forget("u1")
    assert b"a secret that" not in bytes_of(path)


def test_a_key_in_the_bytes_is_found_wherever_it_stands(tmp_path, monkeypatch):
    """The look through a file's bytes must be able to fail: beside other hex digits, and across two parts."""
    monkeypatch.setattr(sqlite, "PART", 100)
    keys = {key_of(str(number)) for number in range(5)}
    hidden = sorted(keys)[:3]
    file = tmp_path / "file"
    file.write_bytes(b"..ab" + hidden[0].encode() + b"c.." + b"." * 20 + hidden[1].encode() + hidden[2].encode() + b"0")
    assert sqlite._found(file, keys) == set(hidden)


def test_a_file_that_still_holds_a_key_is_an_error(tmp_path):
    path = tmp_path / "store" / "calls.sqlite"
    with SummaryStore(path) as store:
        put(store, "u1", "one")
        store.put_many({"other": Generation(f"quotes {key_of('one')}", 1, 1)}, "m", {"other": ["u2"]})
        with pytest.raises(ConfigError, match="1 forgotten calls are still in the file"):
            store.forget("u1")


def test_nothing_of_it_is_left_in_the_tables_files_of_a_server(postgres_server):
    def holding(text):
        return [file for file in (postgres_server.data / "base").rglob("*") if file.is_file() and text in _read(file)]

    with SummaryStore(postgres_server.new_database()) as store:
        put(store, "u1", "an unheard-of secret")
        with store._database.engine.begin() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        assert holding(b"an unheard-of secret")
        store.forget("u1")
        with store._database.engine.begin() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        assert holding(b"an unheard-of secret") == []


def _read(file):
    try:
        return file.read_bytes()
    except FileNotFoundError:  # the server takes files of its own away as it likes
        return b""


def test_an_upgraded_store_forgets_once_its_texts_have_found_their_users(tmp_path):
    path = tmp_path / "store" / "calls.sqlite"
    make_v1(path, ["one", "two"])
    with SummaryStore(path) as store:
        store.put_users({key_of("one"): ["u1"]})
        store.put_profiles([record("u2", "two")])
        assert store.forget("u1") == Forgotten(profiles=0, calls=1, kept_shared_calls=0, unowned_calls=0)
        assert store.current("u2", "recurrent").steps == ("two",)
