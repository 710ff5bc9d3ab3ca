"""Faulty texts: tried again once, then replaced by what is had already, and the same when run again."""

from collections import Counter

import pytest
from summary_fakes import (
    DECODING,
    LENIENT,
    RETRY,
    STRICT,
    AnyOrderGenerator,
    FakeGenerator,
    FakePrompts,
    by_user,
    jobs,
    judge_by,
    make_runner,
    slow_way,
    stand_in,
    uneven,
    write,
)

from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.store import SummaryStore, call_key

ITEMS = ["a", "b", "c", "d", "e", "f"]
PROMPTS = FakePrompts()


@pytest.fixture
def store(tmp_path):
    with SummaryStore(tmp_path / "calls.sqlite") as store:
        yield store


def text_of(prompt, decoding=DECODING):
    return write(prompt, decoding).text.strip()


def task(prompt):
    return prompt.system[0].text


def summarize(store, judge, method=recurrent, items=ITEMS, size=2):
    """The profile of one user, and the counts of the run that made it."""
    runner = make_runner(FakeGenerator(), store, judge=judge)
    [(_, profile)] = runner.run(jobs({"u": items}, method, size))
    return profile, runner.counts


def test_a_faulty_text_is_tried_again_with_other_decoding_and_that_text_is_taken(store):
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: decoding == DECODING))
    first = PROMPTS.block(["a", "b"])
    second = PROMPTS.update(text_of(first, RETRY), ["c", "d"])
    third = PROMPTS.update(text_of(second, RETRY), ["e", "f"])
    prompts = (first, second, third)
    assert profile.steps == tuple(text_of(prompt, RETRY) for prompt in prompts)
    assert profile.keys == tuple(call_key("fake", prompt, how) for prompt in prompts for how in (DECODING, RETRY))
    assert (counts.faults, counts.retried, counts.replaced) == (Counter(echo=3), 3, Counter())
    assert counts.made.calls == profile.calls == 6


def test_a_good_text_is_not_tried_again(store):
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: task(prompt) == "block"))
    assert [key == call_key("fake", PROMPTS.block(["a", "b"]), RETRY) for key in profile.keys] == [
        False,
        True,
        False,
        False,
    ]
    assert (counts.faults, counts.retried, counts.replaced) == (Counter(echo=2), 1, Counter(extractive=1))


def test_an_update_that_stays_faulty_leaves_the_summary_that_was(store):
    """The next block is added to that one, so nothing but the faulty block is missing."""
    faulty = PROMPTS.update(text_of(PROMPTS.block(["a", "b"])), ["c", "d"])
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: prompt == faulty))
    before = text_of(PROMPTS.block(["a", "b"]))
    assert profile.steps == (before, before, text_of(PROMPTS.update(before, ["e", "f"])))
    assert (counts.faults, counts.retried, counts.replaced) == (Counter(echo=2), 1, Counter(previous=1))


def test_a_first_summary_that_stays_faulty_is_written_without_the_model(store):
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: task(prompt) == "block"))
    started = stand_in(["a", "b"])
    second = text_of(PROMPTS.update(started, ["c", "d"]))
    assert profile.steps == (started, second, text_of(PROMPTS.update(second, ["e", "f"])))
    assert counts.replaced == Counter(extractive=1)


def test_a_leaf_that_stays_faulty_is_written_without_the_model_about_its_own_block(store):
    faulty = PROMPTS.block(["c", "d"])
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: prompt == faulty), hierarchical)
    leaves = (text_of(PROMPTS.block(["a", "b"])), stand_in(["c", "d"]), text_of(PROMPTS.block(["e", "f"])))
    assert profile.steps == (*leaves, text_of(PROMPTS.merge(leaves)))
    assert (counts.faults, counts.retried, counts.replaced) == (Counter(echo=2), 1, Counter(extractive=1))


def test_a_merge_that_stays_faulty_is_written_without_the_model_about_all_items_under_it(store):
    profile, counts = summarize(store, judge_by(lambda prompt, decoding: task(prompt) == "merge"), hierarchical, size=1)
    leaves = [text_of(PROMPTS.block([item])) for item in ITEMS]
    assert profile.steps == (*leaves, stand_in(ITEMS[:3]), stand_in(ITEMS[3:]), stand_in(ITEMS))
    assert profile.summary == stand_in(ITEMS)
    assert counts.replaced == Counter(extractive=3)


def test_the_calls_of_a_profile_stand_in_the_order_of_its_requests(store):
    """The first attempt, then the second, of one leaf after the other; failed ones are part of what was paid."""
    faulty = PROMPTS.block(["c", "d"])
    profile, _ = summarize(store, judge_by(lambda prompt, decoding: prompt == faulty), hierarchical)
    leaves = [(("a", "b"), DECODING), (("c", "d"), DECODING), (("c", "d"), RETRY), (("e", "f"), DECODING)]
    assert profile.keys[:4] == tuple(call_key("fake", PROMPTS.block(items), how) for items, how in leaves)
    assert profile.calls == 5


@pytest.mark.parametrize("method", [recurrent, hierarchical])
@pytest.mark.parametrize("window", [1, 5, None])
def test_profiles_of_many_users_are_those_of_one_call_at_a_time(store, method, window):
    expected = slow_way(uneven(30), method, STRICT)
    runner = make_runner(FakeGenerator(), store, window, STRICT)
    assert by_user(runner.run(jobs(uneven(30), method))) == expected
    retried = [call for call in runner.generator.calls if call.decoding == RETRY]
    assert retried
    again = Counter(call.key for call in retried)
    assert runner.counts.retried == sum(key in again for profile in expected.values() for key in profile.keys)
    assert set(runner.counts.replaced) == ({"previous", "extractive"} if method is recurrent else {"extractive"})


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_a_rerun_finds_both_attempts_and_makes_the_same_of_them_without_a_call(store, method):
    first = make_runner(AnyOrderGenerator(), store, judge=STRICT)
    profiles = by_user(first.run(jobs(uneven(30), method)))
    again = make_runner(FakeGenerator(), store, judge=STRICT)
    assert by_user(again.run(jobs(uneven(30), method))) == profiles
    assert again.generator.submits == []
    assert again.counts.found == first.counts.total
    assert (again.counts.faults, again.counts.retried, again.counts.replaced) == (
        first.counts.faults,
        first.counts.retried,
        first.counts.replaced,
    )


def test_the_store_keeps_faulty_texts_as_they_were_written(store):
    """A stricter or milder judge of a later version judges them anew, without a call."""
    profile, _ = summarize(store, judge_by(lambda prompt, decoding: True))
    assert profile.steps == (stand_in(["a", "b"]),) * 3
    assert len(store.get_many(profile.keys)) == profile.calls == 6
    after, counts = summarize(store, LENIENT, items=ITEMS[:2])
    assert after.summary == text_of(PROMPTS.block(["a", "b"]))
    assert counts.made.calls == 0
