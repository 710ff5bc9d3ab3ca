import json
import multiprocessing
import os
import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from hashlib import sha256

import pytest
from sqlalchemy import event
from summary_fakes import FakeGenerator, histories, make_runner, plans, write_beside_others

from trsr.errors import ConfigError
from trsr.llm.protocol import Decoding, Generation, Piece, Prompt
from trsr.summaries.store import SummaryStore, call_key

PROMPT = Prompt((Piece("be brief", True),), (Piece("item", False), Piece("end", True)), "Likes:")
DECODING = Decoding(64, 1.1, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "calls.sqlite"


def some(number, size=10):
    return {f"key-{at}": Generation(f"é\x00{at}" + "x" * size, at, 2 * at) for at in range(number)}


def query(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


def limit_connections(store, pragma):
    """Make the file behind an open store fail the way a full disk or a lost permission does."""
    store._engine.dispose()
    event.listen(store._engine, "connect", lambda connection, _: connection.execute(pragma).close())


def assert_one_sentence(error, path):
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


def test_what_is_put_is_got_by_a_later_process(path):
    with SummaryStore(path) as store:
        store.put_many(some(2000), "model-a")
    with SummaryStore(path) as store:
        assert store.get_many([*some(2000), *(f"absent-{at}" for at in range(40_000))]) == some(2000)
        assert store.get_many([]) == {}


def test_the_file_says_which_model_wrote_and_when(path):
    with SummaryStore(path) as store:
        store.put_many(some(1), "model-a")
    [(model, created)] = query(path, "SELECT model, created FROM calls")
    assert model == "model-a"
    assert created > 1_700_000_000
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


def test_the_first_text_stays(path):
    with SummaryStore(path) as store:
        store.put_many({"k": Generation("first", 1, 1)}, "m")
        store.put_many({"k": Generation("second", 1, 1), "l": Generation("new", 1, 1)}, "m")
        store.put_many({}, "m")
        assert store.get_many(["k", "l"]) == {"k": Generation("first", 1, 1), "l": Generation("new", 1, 1)}


def test_processes_open_and_write_one_new_store_at_once(path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    names = ["a", "b", "c"]
    processes = [context.Process(target=write_beside_others, args=(path, barrier, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    keys = [f"{name}-{number}" for name in [*names, "shared"] for number in range(50)]
    with SummaryStore(path) as store:
        found = store.get_many(keys)
    assert len(found) == 200
    assert found["shared-7"] == Generation("text 7", 1, 1)
    assert found["b-49"] == Generation("b 49", 1, 1)


@pytest.mark.parametrize(
    "other",
    [
        call_key("other", PROMPT, DECODING),
        call_key("m", replace(PROMPT, start="Likes"), DECODING),
        call_key("m", replace(PROMPT, system=()), DECODING),
        call_key("m", replace(PROMPT, user=PROMPT.user[:1]), DECODING),
        call_key("m", replace(PROMPT, user=(Piece("item", True), PROMPT.user[1])), DECODING),
        call_key("m", replace(PROMPT, user=(Piece("itemend", False),)), DECODING),
        call_key("m", replace(PROMPT, user=PROMPT.user[::-1]), DECODING),
        call_key("m", Prompt(PROMPT.user, PROMPT.system, PROMPT.start), DECODING),
        *(call_key("m", PROMPT, replace(DECODING, **{field.name: 2})) for field in fields(Decoding)),
    ],
)
def test_the_key_changes_with_whatever_changes_the_output(other):
    assert other != call_key("m", PROMPT, DECODING)


def test_the_key_holds_these_fields_and_no_other():
    content = {
        "model": "m",
        "prompt": {
            "system": [{"text": "be brief", "trusted": True}],
            "user": [{"text": "item", "trusted": False}, {"text": "end", "trusted": True}],
            "start": "Likes:",
        },
        "decoding": {"max_new_tokens": 64, "repetition_penalty": 1.1, "no_repeat_ngram": 4},
    }
    text = json.dumps(content, sort_keys=True)
    assert call_key("m", PROMPT, DECODING) == sha256(text.encode()).hexdigest()


def test_a_newer_store_is_refused(path):
    SummaryStore(path).close()
    query(path, "PRAGMA user_version=99")
    with pytest.raises(ConfigError, match=r"version 99, .* upgrade trsr") as error:
        SummaryStore(path)
    assert_one_sentence(error, path)


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


def test_a_run_on_a_disk_that_fills_up_continues_when_there_is_room(path):
    with SummaryStore(path) as store:
        limit_connections(store, "PRAGMA max_page_count=4")
        full = make_runner(FakeGenerator(), store)
        with pytest.raises(ConfigError, match="the disk is full"):
            list(full.run(plans(histories(100))))
    with SummaryStore(path) as store:
        runner = make_runner(FakeGenerator(), store)
        assert len(list(runner.run(plans(histories(100))))) == 100
    assert full.counts.made.calls > 0
    assert len(runner.generator.prompts) == 300 - full.counts.made.calls
