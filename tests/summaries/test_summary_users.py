"""Whose a stored text is: every user whose plan asked for it, so that forgetting one takes all of theirs alone."""

import pytest
from summary_fakes import (
    STRICT,
    AnyOrderGenerator,
    FakeGenerator,
    histories,
    jobs,
    make_runner,
    slow_way,
    uneven,
)

from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Job
from trsr.summaries.store import SummaryStore


@pytest.fixture
def store(tmp_path):
    with SummaryStore(tmp_path / "calls.sqlite") as store:
        yield store


def keys_of(wanted, method=recurrent):
    """The keys of the calls that each user's plan asks for."""
    return {user: set(profile.keys) for user, profile in slow_way(wanted, method, STRICT).items()}


def forget_one_by_one(store, asked):
    """Forget users in turn; what is stored after each must be what the plans of the others asked for."""
    stored = set().union(*asked.values())
    assert set(store.get_many(stored)) == stored
    left = dict(asked)
    for user in asked:
        own = left.pop(user)
        others = set().union(*left.values())
        forgotten = store.forget(user)
        assert (forgotten.calls, forgotten.kept_shared_calls) == (len(own - others), len(own & others))
        assert set(store.get_many(stored)) == others


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("window", [1, 4, None])
@pytest.mark.parametrize("seed", range(2))
def test_a_call_belongs_to_all_users_who_asked_for_it(store, method, window, seed):
    """Those who waited for it together, those who came while it was made, and those who found it later."""
    runner = make_runner(AnyOrderGenerator(seed=seed), store, window, STRICT)
    list(runner.run(jobs(uneven(20), method)))
    forget_one_by_one(store, keys_of(uneven(20), method))


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_a_call_that_another_run_made_belongs_to_those_who_find_it_too(store, method):
    same = {user: ["a", "b", "c", "d", f"{user} only"] for user in ("u1", "u2", "u3")}
    for user, items in same.items():
        list(make_runner(FakeGenerator(), store, judge=STRICT).run(jobs({user: items}, method)))
    forget_one_by_one(store, keys_of(same, method))


def test_a_call_of_both_methods_is_found_by_the_second_and_belongs_to_the_user_of_each(store):
    list(make_runner(FakeGenerator(), store, judge=STRICT).run(jobs({"u1": ["a", "b"]}, recurrent)))
    list(make_runner(FakeGenerator(), store, judge=STRICT).run(jobs({"u2": ["a", "b"]}, hierarchical)))
    forget_one_by_one(store, keys_of({"u1": ["a", "b"], "u2": ["a", "b"]}))


def test_two_jobs_of_one_user_make_one_owner(store):
    """Two examples of a user, as of two moments, have blocks in common."""
    items = histories(1, 8)["u0"]
    both = [Job(f"as of {end}", "u0", job.plan) for end in (4, 8) for job in jobs({"u0": items[:end]})]
    runner = make_runner(FakeGenerator(), store)
    assert len(list(runner.run(both))) == 2
    assert store.forget("u0").calls == runner.counts.made.calls == 4


@pytest.mark.parametrize("batches", [1, 3])
def test_a_run_that_was_killed_leaves_no_text_without_a_user(store, batches):
    """The profile that would name its calls is not made yet, but the user may be forgotten."""
    broken = make_runner(FakeGenerator(limit=batches), store, judge=STRICT)
    with pytest.raises(RuntimeError):
        list(broken.run(jobs(uneven(12))))
    made = {call.key for call in broken.generator.calls}
    forget_one_by_one(store, {user: keys & made for user, keys in keys_of(uneven(12)).items()})
