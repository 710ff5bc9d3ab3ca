"""What holds for a store of every kind; files and servers have tests of their own beside these."""

import multiprocessing
from itertools import pairwise

import pytest
from store_cases import calls, key_of, put, record, write_beside_others

from trsr.errors import ConfigError
from trsr.llm.protocol import Generation
from trsr.summaries.store import ProfileVersion, SummaryStore, profiles


@pytest.fixture
def store(place):
    with SummaryStore(place) as store:
        yield store


def odd_texts(number):
    """Control characters among them, which PostgreSQL does not hold as they are."""
    return [f"é\x00{at}\x1a0\x1a\U0001f4da" for at in range(number)]


def test_what_is_put_is_got_by_a_later_process(place):
    some = calls(*odd_texts(2000))
    with SummaryStore(place) as store:
        store.put_many(some, "model-a")
    with SummaryStore(place) as store:
        assert store.get_many([*some, *(f"absent-{at}" for at in range(40_000))]) == some
        assert store.get_many([]) == {}


def test_the_first_text_stays(store):
    store.put_many({"k": Generation("first", 1, 1)}, "m")
    store.put_many({"k": Generation("second", 1, 1), "l": Generation("new", 1, 1)}, "m")
    store.put_many({}, "m")
    store.put_users({})
    assert store.get_many(["k", "l"]) == {"k": Generation("first", 1, 1), "l": Generation("new", 1, 1)}


def test_processes_open_and_write_one_new_store_at_once(place):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    names = ["a", "b", "c"]
    processes = [context.Process(target=write_beside_others, args=(place, barrier, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with SummaryStore(place) as store:
        found = store.get_many([key_of(f"{name} {number}") for name in [*names, "shared"] for number in range(50)])
        assert len(found) == 200
        for name in names:
            assert [version.calls for version in store.versions(name, "recurrent")] == [
                (key_of(f"{name} {number}"),) for number in range(50)
            ]
        versions = store.versions("everybody", "recurrent")
    # each process put 50 profiles; where two put the same one after the other it is one version
    summaries = [version.summary for version in versions]
    assert set(summaries) == {f"shared {number}" for number in range(50)}
    assert all(before != after for before, after in pairwise(summaries))
    assert all(version.calls[0] in found for version in versions)


def test_a_profile_grows_and_its_earlier_versions_stay(store):
    first = put(store, "u1", "Likes: maps")
    second = put(store, "u1", "Likes: maps", " Likes: maps, tea\n")
    [then, now] = store.versions("u1", "recurrent")
    assert then == ProfileVersion(**(vars(first) | {"blocks": (), "steps": ()}), created=then.created)
    assert now == ProfileVersion(**vars(second), created=now.created)
    assert now.blocks == (("item 1",), ("item 2",))
    assert now.steps == ("Likes: maps", " Likes: maps, tea\n")
    assert (now.events, now.last_item, now.last_time, now.summary) == (2, "item 2", 1_700_000_002, "Likes: maps, tea")
    assert now.created >= then.created > 1_700_000_000
    assert store.current("u1", "recurrent") == now


def test_the_same_inputs_are_no_new_version(store):
    made = put(store, "u1", "text")
    assert not store.put_profile(made)
    assert not store.put_profile(record("u1", "text", summary="other"))
    [version] = store.versions("u1", "recurrent")
    assert version.summary == "text"


def test_a_history_that_goes_back_is_a_new_version(store):
    """Events may be taken out of the data again, and then the first profile is the right one once more."""
    first, second = put(store, "u1", "one"), put(store, "u1", "one", "two")
    assert store.put_profile(first)
    assert [version.inputs for version in store.versions("u1", "recurrent")] == [
        first.inputs,
        second.inputs,
        first.inputs,
    ]
    assert store.current("u1", "recurrent").summary == "one"


def test_methods_have_profiles_of_their_own(store):
    put(store, "u1", "one")
    put(store, "u1", "one", "two", method="hierarchical")
    assert store.current("u1", "recurrent").steps == ("one",)
    assert store.current("u1", "hierarchical").steps == ("one", "two")
    assert store.current("u1", "other") is None
    assert store.current("u2", "recurrent") is None


def test_a_user_without_events_has_an_empty_profile(store):
    empty = put(store, "u1")
    [version] = store.versions("u1", "recurrent")
    assert version == ProfileVersion(**vars(empty), created=version.created)
    assert version.calls == ()
    assert version.last_item is None
    assert version.last_time is None


def test_one_text_may_be_several_steps(store):
    put(store, "u1", "same", "other", "same")
    assert store.current("u1", "recurrent").steps == ("same", "other", "same")


def test_inputs_and_profiles_of_many_users_at_once(store):
    texts = odd_texts(2500)
    store.put_many(calls(*texts), "m")
    records = [record(f"user {text}", text) for text in texts]
    assert store.put_profiles(records) == 2500
    changed = record(records[7].user, *texts[:2])
    assert store.put_profiles([*records[:7], changed]) == 1
    inputs = store.inputs_of([*(one.user for one in records), "nobody"], "recurrent")
    assert inputs == {one.user: one.inputs for one in records} | {changed.user: changed.inputs}
    current = store.current_of([one.user for one in records], "recurrent")
    assert {user: version.steps for user, version in current.items()} == {
        one.user: (text,) for one, text in zip(records, texts, strict=True)
    } | {changed.user: tuple(texts[:2])}
    assert store.inputs_of([], "recurrent") == store.current_of([], "recurrent") == {}


def test_of_several_records_for_a_user_the_last_counts(store):
    store.put_many(calls("one", "two"), "m")
    assert store.put_profiles([record("u1", "one"), record("u1", "two")]) == 1
    assert [version.summary for version in store.versions("u1", "recurrent")] == ["two"]
    assert store.put_profiles([]) == 0


def test_users_come_in_the_order_of_code_points_page_by_page(store, monkeypatch):
    monkeypatch.setattr(profiles, "USERS_PER_PAGE", 3)
    names = ["B", "a", "b", "É", "Zz", "é", "\U0001f4da", "a b", "a-b", "0"]
    store.put_profiles([record(name) for name in names])
    store.put_profiles([record("elsewhere", method="hierarchical")])
    assert list(store.users("recurrent")) == sorted(names)
    assert list(store.users("other")) == []


def test_a_store_can_be_written_while_its_users_are_read(store, monkeypatch):
    monkeypatch.setattr(profiles, "USERS_PER_PAGE", 2)
    store.put_profiles([record(f"u{number}") for number in range(5)])
    for user in store.users("recurrent"):
        put(store, user, f"text of {user}")
    assert [store.current(f"u{number}", "recurrent").summary for number in range(5)] == [
        f"text of u{number}" for number in range(5)
    ]


def test_a_profile_whose_calls_were_forgotten_is_not_stored(store):
    store.put_many(calls("here"), "m")
    with pytest.raises(ConfigError, match=r"calls of user 'u2' are gone, .*; run again$"):
        store.put_profiles([record("u1", "here"), record("u2", "here", "gone")])
    assert list(store.users("recurrent")) == []


def test_profiles_are_stored_whole_or_not_at_all(store, monkeypatch):
    kept = put(store, "u1", "one")
    store.put_many(calls("two"), "m")

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(profiles, "insert_new", fail)
        with pytest.raises(KeyboardInterrupt):
            store.put_profiles([record("u1", "one", "two"), record("u2", "two")])
    assert store.inputs_of(["u1", "u2"], "recurrent") == {"u1": kept.inputs}
    assert len(store.versions("u1", "recurrent")) == 1
    assert store.put_profiles([record("u1", "one", "two"), record("u2", "two")]) == 2
