"""Two `trsr summarize` on one store at once: what a user who runs two of them would lose or pay for twice."""

import itertools
import threading

import pytest
from polars.testing import assert_frame_equal
from processes import assert_whole, finish, profiles, start
from readers import make_readers, write_settings
from writer import repeated

METHOD = "recurrent"


@pytest.fixture
def readers():
    return make_readers(16)


@pytest.fixture
def begin(tmp_path, model, writer, readers):
    """Begins `trsr summarize` on a store; gives the process and the table that it exports."""
    folder = readers.write(tmp_path / "readers")
    config = write_settings(tmp_path / "config.yaml", model, writer.backend)
    numbers = itertools.count()

    def begin(store, *arguments, folder=folder):
        table = tmp_path / f"{next(numbers)}.parquet"
        common = ("--method", METHOD, "--config", config, "--store", store, "--export", table)
        return start(folder, *common, *arguments), table

    return begin


@pytest.fixture
def undisturbed(tmp_path, begin, writer):
    """The profiles that one process makes alone."""
    process, table = begin(tmp_path / "undisturbed.sqlite")
    finish(process)
    assert not repeated(writer.take_asked())
    return profiles(table)


def meet(writer, at_once):
    """Hold the first requests of two processes until both of them ask."""
    writer.server.gate, writer.server.full_at = threading.Event(), at_once


def test_two_processes_end_with_the_profiles_of_one_and_no_third_asks_again(place, begin, undisturbed, readers, writer):
    meet(writer, 2 * writer.backend["concurrency"])
    both = [begin(place), begin(place)]
    for process, table in both:
        finish(process)
        assert_frame_equal(profiles(table), undisturbed)
    assert writer.server.gate.is_set()
    writer.take_asked()
    assert_whole(place, METHOD, sorted(readers.events))
    process, table = begin(place)
    finish(process)
    assert not writer.take_asked()
    assert_frame_equal(profiles(table), undisturbed)


def test_two_processes_with_a_model_that_never_says_the_same_twice_agree_on_what_was_stored_first(
    tmp_path, begin, readers, writer
):
    numbers = itertools.count()
    writer.text = lambda body: f"take {next(numbers)} of notes"
    meet(writer, 2 * writer.backend["concurrency"])
    store = tmp_path / "store.sqlite"
    both = [begin(store), begin(store)]
    for process, _ in both:
        finish(process)
    [one, other] = [profiles(table) for _, table in both]
    assert_whole(store, METHOD, sorted(readers.events))
    finish(begin(store)[0])
    assert one.select("user_id", "blocks").equals(other.select("user_id", "blocks"))
    assert_frame_equal(one, other)


def test_two_processes_on_different_users_make_every_call_once(tmp_path, begin, undisturbed, readers, writer):
    """The first half by `--users`, the other half as a folder of their own."""
    rest = make_readers(16)
    users = sorted(readers.events)
    for user in users[:8]:
        del rest.events[user]
    store = tmp_path / "store.sqlite"
    first = begin(store, "--users", 8)
    second = begin(store, folder=rest.write(tmp_path / "rest"))
    for process, _ in (first, second):
        finish(process)
    assert not repeated(writer.take_asked())
    assert_whole(store, METHOD, users)
    process, table = begin(store)
    finish(process)
    assert not writer.take_asked()
    assert_frame_equal(profiles(table), undisturbed)
