"""What a run asks of its backend, and when: full batches, in an order that a run that was killed takes up again."""

import weakref

import pytest
from summary_fakes import (
    DECODING,
    RETRY,
    STRICT,
    AnyOrderGenerator,
    FakeGenerator,
    by_user,
    histories,
    jobs,
    make_runner,
    slow_way,
    uneven,
    write,
)

from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import SLOTS_IN_SIGHT, Job
from trsr.summaries.store import SummaryStore

METHODS = [recurrent, hierarchical]


@pytest.fixture
def store(tmp_path):
    with SummaryStore(tmp_path / "calls.sqlite") as store:
        yield store


def keys(batches):
    return [[call.key for call in batch] for batch in batches]


def texts(call):
    return [piece.text for piece in call.prompt.user]


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_full_across_users(store, method):
    generator = FakeGenerator(slots=4)
    list(make_runner(generator, store).run(jobs(histories(10), method)))
    calls = 10 * (3 if method is recurrent else 4)
    assert [len(batch) for batch in generator.batches] == [4] * (calls // 4) + [calls % 4] * (calls % 4 > 0)


def test_a_batch_holds_prompts_of_like_length_longest_first(store):
    generator = FakeGenerator(slots=2)
    list(make_runner(generator, store).run(jobs({"a": ["x"], "b": ["x" * 30], "c": ["xx"], "d": ["x" * 31]})))
    assert [[len(texts(call)[0]) for call in batch] for batch in generator.batches] == [[31, 30], [2, 1]]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (recurrent, ["block a1 x", "update a3 xx", f"block {'b' * 50}", "update a5 xxx", "block c"]),
        (hierarchical, ["block a5 xxx", "block a3 xx", "block a1 x", f"block {'b' * 50}", "merge", "block c"]),
    ],
)
def test_the_longest_way_to_go_comes_first_then_the_longest_prompt(store, method, expected):
    """Short histories fill the gaps; else one long history is left to the end, alone in every batch."""
    generator = FakeGenerator(slots=1)
    wanted = {"c": ["c"], "b": ["b" * 50], "a": ["a1", "x", "a3", "xx", "a5", "xxx"]}
    list(make_runner(generator, store).run(jobs(wanted, method)))
    items = {item for history in wanted.values() for item in history}
    asked = [[call.prompt.system[0].text, *(text for text in texts(call) if text in items)] for call in generator.calls]
    assert [" ".join(words) for words in asked] == expected


def test_a_shared_call_comes_as_early_as_the_longest_of_its_plans_needs_it(store):
    generator = FakeGenerator(slots=1)
    wanted = {"short": ["a", "b"], "long": ["a", "b", "c", "d", "e", "f"], "other": ["x" * 50, "y", "z", "z"]}
    list(make_runner(generator, store).run(jobs(wanted)))
    assert texts(generator.calls[0]) == ["a", "b"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_no_slot_is_free_while_a_call_is_ready(store, method, seed):
    """With a server, an empty slot is a request less in flight."""
    generator = AnyOrderGenerator(seed=seed)
    # with one merge for all leaves, a call is ready when the texts in its prompt are there
    list(make_runner(generator, store, window=1000).run(jobs(uneven(30), method, fan_in=8)))
    assert waits_with_a_free_slot(generator) == []
    assert max(len(busy) for busy, _ in generator.rounds) == generator.slots


def waits_with_a_free_slot(generator):
    """Calls that were handed over later than a slot was free for them, though their texts were there."""
    home = {}  # the round in which a text came home
    for number, (_, done) in enumerate(generator.rounds):
        home.update({write(call.prompt).text.strip(): number + 1 for call in done})
    late = []
    for number, (busy, _) in enumerate(generator.rounds):
        before = generator.rounds[number - 1][0] if number else []
        for call in busy:
            ready = max((home.get(text, 0) for text in texts(call)), default=0)
            free = [at for at in range(ready, number) if len(generator.rounds[at][0]) < generator.slots]
            late += [call] * (call not in before and bool(free))
    return late


def test_second_attempts_go_in_one_batch_with_first_attempts(store):
    """Few texts are faulty at a time; in batches of their own they would leave most of the backend idle."""
    generator = FakeGenerator(slots=8)
    list(make_runner(generator, store, window=1000, judge=STRICT).run(jobs(histories(40, 2))))
    assert {call.decoding for call in generator.calls} == {DECODING, RETRY}
    # only the attempts that are left at the end are too few for a batch
    assert [len(batch) for batch in generator.batches[:-2]] == [8] * (len(generator.batches) - 2)
    assert any(len({call.decoding for call in batch}) == 2 for batch in generator.batches)


def test_by_default_as_many_jobs_are_unfinished_as_fill_the_slots_several_times(store):
    assert make_runner(FakeGenerator(slots=3), store).window == 3 * SLOTS_IN_SIGHT
    assert make_runner(FakeGenerator(slots=3), store, window=2).window == 2


@pytest.mark.parametrize("again", [False, True])
def test_jobs_are_taken_as_there_is_room_and_let_go_once_they_are_done(store, again):
    """The memory of a run is that of its window, with calls to make or all of them found."""
    window, number = 50, 10_000
    wanted = {f"u{at}": ["a", "b", "c", f"{at % 500}"][: at % 5] for at in range(number)}
    if again:
        list(make_runner(FakeGenerator(slots=64), store, window).run(jobs(wanted)))
    runner = make_runner(FakeGenerator(slots=64), store, window)
    alive, taken, unfinished, yielded = weakref.WeakSet(), [], [], 0

    def watched():
        for job in jobs(wanted):
            alive.add(job.plan)
            taken.append(job.user)
            unfinished.append(len(taken) - runner.counts.users)
            yield job

    for _ in runner.run(watched()):
        yielded += 1
        assert len(taken) <= yielded + 2 * window  # those at work, and those done in the same turn
        assert len(alive) <= 2 * window + 1  # and the one that was just taken
    assert yielded == number
    assert max(unfinished) == window


class KilledError(Exception):
    pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("window", [3, None])
def test_a_run_that_was_killed_makes_the_very_batches_it_would_have_made(tmp_path, method, window):
    """Rows of a batch may touch each other in the last bits, so other batches could end with other summaries."""

    def run(path, limit=None):
        generator = FakeGenerator(limit=limit, failure=KilledError)
        with SummaryStore(path) as store:
            try:
                profiles = by_user(make_runner(generator, store, window, STRICT).run(jobs(uneven(9), method)))
            except KilledError:
                profiles = None
        return keys(generator.batches), profiles

    whole, profiles = run(tmp_path / "whole.sqlite")
    assert profiles == slow_way(uneven(9), method, STRICT)
    assert len(whole) > 10
    for limit in range(len(whole)):
        path = tmp_path / f"{limit}.sqlite"
        assert run(path, limit) == (whole[:limit], None)
        assert run(path) == (whole[limit:], profiles)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_after_every_batch_makes_those_of_an_undisturbed_one(tmp_path, method):
    def run(name, limit):
        generator = FakeGenerator(limit=limit, failure=KilledError)
        with SummaryStore(tmp_path / name) as store:
            try:
                list(make_runner(generator, store, judge=STRICT).run(jobs(uneven(9), method)))
            except KilledError:
                return keys(generator.batches), True
        return keys(generator.batches), False

    whole, _ = run("whole.sqlite", None)
    made, killed = [], True
    while killed:
        batches, killed = run("killed.sqlite", 1)
        made += batches
    assert made == whole


def test_jobs_that_need_no_call_are_finished_without_the_backend(store):
    """An extractive summary is a plan that asks for nothing."""

    def plan(user):
        yield from ()
        return f"of {user}"

    generator = FakeGenerator()
    found = list(make_runner(generator, store, window=3).run(Job(user, user, plan(user)) for user in "abcdefgh"))
    assert [(job.user, profile.summary, profile.calls) for job, profile in found] == [
        (user, f"of {user}", 0) for user in "abcdefgh"
    ]
    assert generator.submits == []


def test_plans_of_both_methods_run_beside_each_other(store):
    both = [
        Job(f"{method.__name__} {job.name}", job.user, job.plan)
        for method in METHODS
        for job in jobs(uneven(9), method)
    ]
    found = {job.name: profile for job, profile in make_runner(FakeGenerator(), store).run(both)}
    assert found == {
        f"{method.__name__} of {user}": profile
        for method in METHODS
        for user, profile in slow_way(uneven(9), method).items()
    }
