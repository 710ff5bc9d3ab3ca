"""What comes out of a run: the summaries of one call at a time, each call made once, whatever happens on the way."""

import multiprocessing
import signal
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from summary_fakes import (
    DECODING,
    LENIENT,
    STRICT,
    AnyOrderGenerator,
    FakeGenerator,
    by_user,
    histories,
    jobs,
    make_runner,
    run_until_killed,
    slow_way,
    uneven,
    write,
)

from trsr.errors import ModelError
from trsr.llm.protocol import Generation
from trsr.summaries.counts import SummaryCounts, Usage
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.store import SummaryStore, call_key

# few items make blocks that come again, many make blocks of one user only
HISTORIES = st.sampled_from(["ab", "abcdefg"]).flatmap(
    lambda items: st.lists(st.lists(st.sampled_from(items), max_size=30), max_size=6)
)


@pytest.fixture
def store(tmp_path):
    with SummaryStore(tmp_path / "calls.sqlite") as store:
        yield store


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("slots", [1, 4, 64])
@pytest.mark.parametrize("window", [1, 5, None])
def test_profiles_are_those_of_one_call_at_a_time(store, method, slots, window):
    profiles = by_user(make_runner(FakeGenerator(slots), store, window).run(jobs(uneven(30), method)))
    assert profiles == slow_way(uneven(30), method)


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("seed", range(5))
def test_answers_in_any_order_give_the_same_profiles(store, method, seed):
    runner = make_runner(AnyOrderGenerator(seed=seed), store, judge=STRICT)
    assert by_user(runner.run(jobs(uneven(30), method))) == slow_way(uneven(30), method, STRICT)


@given(
    wanted=HISTORIES,
    method=st.sampled_from([recurrent, hierarchical]),
    size=st.integers(1, 6),
    fan_in=st.integers(2, 4),
    judge=st.sampled_from([LENIENT, STRICT]),
    slots=st.integers(1, 9),
    window=st.none() | st.integers(1, 7),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_any_histories_on_any_backend_are_summarised_as_one_by_one_and_each_call_is_made_once(
    tmp_path_factory, wanted, method, size, fan_in, judge, slots, window, seed
):
    """Histories share items and repeat them, so users share calls and one wave may ask for a call twice."""
    named, shape = {f"u{place}": items for place, items in enumerate(wanted)}, {"size": size, "fan_in": fan_in}
    expected = slow_way(named, method, judge, **shape)
    needed = [key for profile in expected.values() for key in profile.keys]
    with SummaryStore(tmp_path_factory.mktemp("any") / "calls.sqlite") as store:
        runner = make_runner(AnyOrderGenerator(slots, seed), store, window, judge)
        assert by_user(runner.run(jobs(named, method, **shape))) == expected
        assert sorted(call.key for call in runner.generator.calls) == sorted(set(needed))
        assert runner.counts.made.calls == len(set(needed))
        assert runner.counts.total.calls == len(needed) == sum(profile.calls for profile in expected.values())
        again = make_runner(FakeGenerator(), store, judge=judge)
        assert by_user(again.run(jobs(named, method, **shape))) == expected
        assert again.counts.found.calls == len(needed)
        assert again.generator.submits == []


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_rerun_makes_no_call(store, method):
    first = make_runner(FakeGenerator(), store)
    profiles = by_user(first.run(jobs(uneven(20), method)))
    again = make_runner(FakeGenerator(slots=3), store)
    assert by_user(again.run(jobs(uneven(20), method))) == profiles
    assert again.generator.submits == []
    assert again.counts == SummaryCounts(20, made=Usage(), found=first.counts.total)


@pytest.mark.parametrize(("method", "calls"), [(recurrent, 1), (hierarchical, 1 + 2)])
def test_a_new_block_costs_the_new_work_only(store, method, calls):
    list(make_runner(FakeGenerator(), store).run(jobs(histories(1, 10), method)))
    grown = make_runner(FakeGenerator(), store)
    list(grown.run(jobs(histories(1, 12), method)))
    assert grown.counts.made.calls == len(grown.generator.calls) == calls


def test_methods_share_the_first_block(store):
    list(make_runner(FakeGenerator(), store).run(jobs(histories(3), recurrent)))
    runner = make_runner(FakeGenerator(), store)
    list(runner.run(jobs(histories(3), hierarchical)))
    assert runner.counts.found.calls == 3
    assert runner.counts.made.calls == 3 * (2 + 1)


def test_equal_calls_of_several_users_are_made_once(store):
    same = {f"u{user}": ["a", "b", "c", "d"] for user in range(10)}
    runner = make_runner(FakeGenerator(), store)
    profiles = by_user(runner.run(jobs(same)))
    assert len(set(profiles.values())) == 1
    assert runner.counts == SummaryCounts(10, made=Usage(2, 20, 4), found=Usage(18, 180, 36))
    assert runner.counts.total == Usage(20, 200, 40)


def test_a_call_that_one_plan_asks_for_twice_is_made_once_and_counted_twice(store):
    """Someone who reads the same two books again has a summary of three calls, of which one was found."""
    runner = make_runner(FakeGenerator(), store)
    [(_, profile)] = runner.run(jobs({"u": ["a", "b", "a", "b"]}, hierarchical))
    assert profile.calls == 3
    assert runner.counts == SummaryCounts(1, made=Usage(2, 20, 4), found=Usage(1, 10, 2))


def test_progress_comes_with_every_batch(store):
    seen = []
    runner = make_runner(FakeGenerator(slots=2), store)
    list(runner.run(jobs(histories(4)), lambda counts: seen.append((counts.made.calls, counts.users))))
    assert [calls for calls, _ in seen] == sorted(calls for calls, _ in seen)
    assert {calls for calls, _ in seen} == {0, 2, 4, 6, 8, 10, 12}
    assert seen[-1] == (12, 4)


def test_counts_add_up_over_runs(store):
    """One line of the manifest covers every method of an experiment."""
    runner = make_runner(FakeGenerator(), store)
    list(runner.run(jobs(histories(4), recurrent)))
    list(runner.run(jobs(histories(4), hierarchical)))
    assert runner.counts == SummaryCounts(8, made=Usage(24, 240, 48), found=Usage(4, 40, 8))


@pytest.mark.parametrize("failure", [ModelError, KeyboardInterrupt])
@pytest.mark.parametrize("batches", [0, 1, 4])
def test_after_a_failure_no_completed_call_is_repeated(store, failure, batches):
    broken = make_runner(FakeGenerator(limit=batches, failure=failure), store)
    with pytest.raises(failure):
        list(broken.run(jobs(histories(10))))
    assert len(broken.generator.calls) == 4 * batches
    runner = make_runner(FakeGenerator(), store)
    assert by_user(runner.run(jobs(histories(10)))) == slow_way(histories(10))
    assert not set(runner.generator.calls) & set(broken.generator.calls)
    assert len(runner.generator.calls) == 30 - 4 * batches


@pytest.mark.parametrize("batches", [0, 3])
def test_after_kill_9_no_completed_call_is_repeated(tmp_path, batches):
    path = tmp_path / "calls.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=run_until_killed, args=(path, batches))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with SummaryStore(path) as store:
        runner = make_runner(FakeGenerator(), store)
        assert by_user(runner.run(jobs(histories(10)))) == slow_way(histories(10))
    assert len(runner.generator.calls) == 30 - 4 * batches


class PatientGenerator(FakeGenerator):
    """Answers the calls one by one, and takes more than it has slots, which is what a run broken off makes of it."""

    def submit(self, calls):
        self.under_way += calls

    def choose(self):
        return self.under_way[:1]


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_was_broken_off_does_not_disturb_the_next_on_the_same_backend(store, method, same):
    """In a notebook, what a cell asked for when it was interrupted comes home in the next cell."""
    short, long = histories(10, 2), {f"v{user}": [f"v{user}-i{item}" for item in range(8)] for user in range(10)}
    runner = make_runner(PatientGenerator(), store)
    for _ in runner.run(jobs(short, method)):
        break
    assert len(runner.generator.under_way) == 3
    # the same jobs come behind others with a longer way to go
    wanted = long | short if same else long
    assert by_user(runner.run(jobs(wanted, method))) == slow_way(wanted, method)
    for user in [*wanted, *short]:
        store.forget(user)  # an error where a text has no user


class OvertakenGenerator(AnyOrderGenerator):
    """Another process stores texts of its own for a share of the calls under way before they come home here."""

    def __init__(self, store, share, seed=0):
        super().__init__(seed=seed)
        self.store, self.share = store, share

    def choose(self):
        for call in self.random.sample(self.under_way, round(self.share * len(self.under_way))):
            other = Generation(f"other {call.key[:8]}", 1, 1)
            self.store.put_many({call.key: other}, "fake", {call.key: ["somebody"]})
        return super().choose()


def test_the_text_that_was_stored_first_holds(store):
    """Two processes with one store may make the same call; both then go on from one text."""
    [(_, profile)] = make_runner(OvertakenGenerator(store, share=1), store).run(jobs(histories(1)))
    assert profile.steps == tuple(f"other {key[:8]}" for key in profile.keys)


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("seed", range(8))
def test_two_runs_on_one_store_at_once_end_with_the_same_profiles(store, method, seed):
    """Each text may come from either; whoever runs again finds all of them and makes the same of them."""
    runner = make_runner(OvertakenGenerator(store, share=0.5, seed=seed), store, judge=STRICT)
    profiles = by_user(runner.run(jobs(uneven(20), method)))
    assert any("other" in step for profile in profiles.values() for step in profile.steps)
    again = make_runner(FakeGenerator(), store, judge=STRICT)
    assert by_user(again.run(jobs(uneven(20), method))) == profiles
    assert again.generator.submits == []


class OutrunGenerator(AnyOrderGenerator):
    """While the calls of one batch are under way, another process finishes the whole work."""

    def __init__(self, batch, finish):
        super().__init__()
        self.batch, self.finish = batch, finish

    def choose(self):
        if len(self.batches) == self.batch:
            self.finish()
        return super().choose()


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("batch", range(6))
def test_a_run_that_another_outruns_yields_every_profile_once(store, method, batch):
    def finish():
        list(make_runner(FakeGenerator(), store, judge=STRICT).run(jobs(uneven(20), method)))

    runner = make_runner(OutrunGenerator(batch, finish), store, judge=STRICT)
    assert by_user(runner.run(jobs(uneven(20), method))) == slow_way(uneven(20), method, STRICT)
    assert runner.counts.users == 20


def test_the_store_keeps_what_the_model_wrote_before_it_was_finished(store):
    generator = FakeGenerator()
    [(_, profile)] = make_runner(generator, store).run(jobs(histories(1, 2)))
    [call] = generator.calls
    assert call.key == call_key("fake", call.prompt, DECODING)
    written = f"  {sha256(repr((call.prompt, DECODING)).encode()).hexdigest()[:12]}\n"
    assert store.get_many([call.key]) == {call.key: Generation(written, 10, 2)} == {call.key: write(call.prompt)}
    assert profile.summary == written.strip()
