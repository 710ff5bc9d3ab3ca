import multiprocessing
import signal
from hashlib import sha256

import pytest
from summary_fakes import DECODING, FakeGenerator, follow, histories, make_runner, plans, run_until_killed

from trsr.errors import ModelError
from trsr.llm.protocol import Generation
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import SummaryCounts, Usage
from trsr.summaries.store import SummaryStore, call_key


@pytest.fixture
def store(tmp_path):
    with SummaryStore(tmp_path / "calls.sqlite") as store:
        yield store


def uneven(users):
    """Histories of 0 to 16 items, so that plans end at different times."""
    return {user: items[: 7 * number % 17] for number, (user, items) in enumerate(histories(users, 16).items())}


def slow_way(wanted, method):
    return [(user, follow(plan)) for user, plan in plans(wanted, method)]


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("window", [1, 5, None])
def test_profiles_are_those_of_one_call_at_a_time_in_the_order_given(store, method, window):
    wanted = uneven(40)
    profiles = list(make_runner(FakeGenerator(), store, window).run(plans(wanted, method)))
    assert profiles == slow_way(wanted, method)


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_rerun_makes_no_call(store, method):
    first = make_runner(FakeGenerator(), store)
    profiles = list(first.run(plans(uneven(20), method)))
    again = make_runner(FakeGenerator(batch_size=3), store)
    assert list(again.run(plans(uneven(20), method))) == profiles
    assert again.generator.batches == []
    assert again.counts == SummaryCounts(20, made=Usage(), found=first.counts.made)


@pytest.mark.parametrize(("method", "calls"), [(recurrent, 1), (hierarchical, 1 + 2)])
def test_a_new_block_costs_the_new_work_only(store, method, calls):
    list(make_runner(FakeGenerator(), store).run(plans(histories(1, 10), method)))
    grown = make_runner(FakeGenerator(), store)
    list(grown.run(plans(histories(1, 12), method)))
    assert grown.counts.made.calls == len(grown.generator.prompts) == calls


def test_methods_share_the_first_block(store):
    list(make_runner(FakeGenerator(), store).run(plans(histories(3), recurrent)))
    runner = make_runner(FakeGenerator(), store)
    list(runner.run(plans(histories(3), hierarchical)))
    assert runner.counts.found.calls == 3
    assert runner.counts.made.calls == 3 * (2 + 1)


def test_equal_calls_of_several_users_are_made_once(store):
    same = {f"u{user}": ["a", "b", "c", "d"] for user in range(10)}
    runner = make_runner(FakeGenerator(), store)
    profiles = list(runner.run(plans(same)))
    assert len({profile for _, profile in profiles}) == 1
    assert runner.counts == SummaryCounts(10, made=Usage(2, 20, 4), found=Usage(18, 180, 36))
    assert runner.counts.total == Usage(20, 200, 40)


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_batches_are_full_across_users(store, method):
    generator = FakeGenerator(batch_size=4)
    list(make_runner(generator, store).run(plans(histories(10), method)))
    calls = 10 * (3 if method is recurrent else 4)
    assert [len(batch) for batch in generator.batches] == [4] * (calls // 4) + [calls % 4] * (calls % 4 > 0)


def test_a_batch_holds_prompts_of_like_length_longest_first(store):
    generator = FakeGenerator(batch_size=2)
    wanted = {"a": ["x"], "b": ["x" * 30], "c": ["xx"], "d": ["x" * 31]}
    list(make_runner(generator, store).run(plans(wanted)))
    assert [[len(prompt.user[0].text) for prompt in batch] for batch in generator.batches] == [[31, 30], [2, 1]]


def test_plans_are_taken_as_there_is_room_for_them(store):
    taken, unfinished = [], []
    runner = make_runner(FakeGenerator(), store, window=6)

    def watched():
        for user, plan in plans(histories(30)):
            taken.append(user)
            unfinished.append(len(taken) - runner.counts.users)
            yield user, plan

    assert len(list(runner.run(watched()))) == 30
    assert max(unfinished) == 6


def test_progress_comes_with_every_batch(store):
    seen = []
    runner = make_runner(FakeGenerator(batch_size=2), store)
    list(runner.run(plans(histories(4)), seen.append))
    made = [counts.made.calls for counts in seen]
    assert sorted(set(made)) == [0, 2, 4, 6, 8, 10, 12]
    assert made == sorted(made)
    assert seen[-1] == runner.counts == SummaryCounts(4, made=Usage(12, 120, 24))


@pytest.mark.parametrize("failure", [ModelError, KeyboardInterrupt])
@pytest.mark.parametrize("batches", [0, 1, 4])
def test_after_a_failure_no_completed_call_is_repeated(store, failure, batches):
    broken = make_runner(FakeGenerator(limit=batches, failure=failure), store)
    with pytest.raises(failure):
        list(broken.run(plans(histories(10))))
    assert len(broken.generator.prompts) == 4 * batches
    runner = make_runner(FakeGenerator(), store)
    assert list(runner.run(plans(histories(10)))) == slow_way(histories(10), recurrent)
    assert not set(runner.generator.prompts) & set(broken.generator.prompts)
    assert len(runner.generator.prompts) == 30 - 4 * batches


@pytest.mark.parametrize("batches", [0, 3])
def test_after_kill_9_no_completed_call_is_repeated(tmp_path, batches):
    path = tmp_path / "calls.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=run_until_killed, args=(path, batches))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with SummaryStore(path) as store:
        runner = make_runner(FakeGenerator(), store)
        assert list(runner.run(plans(histories(10)))) == slow_way(histories(10), recurrent)
    assert len(runner.generator.prompts) == 30 - 4 * batches


def test_the_text_that_was_stored_first_holds(store):
    """Two processes with one store may make the same call; both then go on from one text."""

    class Overtaken(FakeGenerator):
        def generate(self, prompts, decoding):
            other = {call_key("fake", prompt, DECODING): Generation("other", 1, 1) for prompt in prompts}
            store.put_many(other, "fake")
            return super().generate(prompts, decoding)

    [(_, profile)] = make_runner(Overtaken(), store).run(plans(histories(1)))
    assert profile.steps == ("other",) * 3


def test_the_store_keeps_what_the_model_wrote_before_it_was_finished(store):
    generator = FakeGenerator()
    [(_, profile)] = make_runner(generator, store).run(plans(histories(1, 2)))
    key = call_key("fake", generator.prompts[0], DECODING)
    written = f"  {sha256(repr(generator.prompts[0]).encode()).hexdigest()[:12]}\n"
    assert store.get_many([key]) == {key: Generation(written, 10, 2)}
    assert profile.summary == written.strip()
