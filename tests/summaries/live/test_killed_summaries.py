"""What a user loses to `kill -9` of `trsr summarize`, at any moment and again and again: the calls under way."""

import random
import signal
import threading

import pytest
from polars.testing import assert_frame_equal
from processes import assert_whole, finish, profiles, start, stored_texts
from readers import make_readers, write_settings
from writer import repeated

KILLS = 10
CONCURRENCY = 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["recurrent", "hierarchical"])
def test_ten_kills_change_no_profile_and_no_stored_call_is_made_again(tmp_path, model, writer, method):
    folder = make_readers(60).write(tmp_path / "readers")
    config = write_settings(tmp_path / "config.yaml", model, writer.backend | {"concurrency": CONCURRENCY})
    writer.refusing, writer.latency = 0.1, 0.03

    def begin(name):
        store, table = tmp_path / f"{name}.sqlite", tmp_path / f"{name}.parquet"
        arguments = ("--method", method, "--config", config, "--store", store, "--export", table)
        return store, table, start(folder, *arguments)

    _, undisturbed, process = begin("undisturbed")
    finish(process)
    needed = set(writer.asked())
    assert not repeated(writer.take_asked())

    chance = random.Random(method)
    stored: set[str] = set()
    made = 0
    for left in range(KILLS, 0, -1):
        remaining = len(needed - stored)
        writer.hold_after(chance.randint(1, max(1, 2 * remaining // (left + 1))))
        store, table, process = begin("killed")
        assert writer.reached.wait(120), process.communicate()
        threading.Event().wait(chance.uniform(0, 0.03))
        process.kill()
        process.communicate()
        writer.resume.set()
        assert process.returncode == -signal.SIGKILL
        asked = writer.take_asked()
        made += len(asked)
        assert not repeated(asked)
        assert not stored & set(asked)
        before, stored = stored, stored_texts(store)
        assert before <= stored <= needed
    writer.after = 0
    finish(begin("killed")[-1])
    asked = writer.take_asked()
    assert set(asked) == needed - stored
    assert not repeated(asked)
    assert made + len(asked) <= len(needed) + KILLS * 2 * CONCURRENCY  # so many are handed to the backend at once
    assert_frame_equal(profiles(table), profiles(undisturbed))


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path, model, writer):
    readers = make_readers(8)
    folder, store = readers.write(tmp_path / "readers"), tmp_path / "store.sqlite"
    config = write_settings(tmp_path / "config.yaml", model, writer.backend)
    writer.hold_after(30)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    process = start(folder, "--config", config, "--store", store)
    signal.signal(signal.SIGINT, before)
    assert writer.reached.wait(120), process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    writer.after = 0
    writer.resume.set()
    assert (process.returncode, out) == (130, "")
    assert err == "trsr: stopped; what a run or a store has kept is not done again\n"
    stored = stored_texts(store)
    assert 30 - 2 * CONCURRENCY <= len(stored) <= 30
    assert not repeated(writer.take_asked())
    finish(start(folder, "--config", config, "--store", store))
    assert not stored & set(writer.take_asked())
    assert_whole(store, "recurrent", sorted(readers.events))
