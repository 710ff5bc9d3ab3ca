import pytest
from hypothesis import given
from hypothesis import strategies as st
from summary_fakes import FakePrompts, follow

from trsr.errors import ConfigError
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.recurrent import recurrent
from trsr.summaries.segments import segment_by_count


def blocks_of(number):
    return [(f"i{2 * at}", f"i{2 * at + 1}") for at in range(number)]


def requests_of(plan):
    """Every request of a plan, each text answered with its own number, and the summary."""
    asked, texts = [], None
    while True:
        try:
            wave = plan.send(texts) if texts is not None else next(plan)
        except StopIteration as end:
            return asked, end.value
        texts = [f"s{len(asked) + at}" for at in range(len(wave.requests))]
        asked += wave.requests


def prompts_of(plan):
    """The task and the texts of every prompt of a plan, and the summary."""
    asked, summary = requests_of(plan)
    return [[piece.text for piece in (*request.prompt.system, *request.prompt.user)] for request in asked], summary


def waves_of(plan):
    """How many requests stand in each wave of a plan, and how many waves it says are left."""
    waves, texts = [], None
    while True:
        try:
            wave = plan.send(texts) if texts is not None else next(plan)
        except StopIteration:
            return [(len(wave.requests), wave.left) for wave in waves]
        waves.append(wave)
        texts = ["text"] * len(wave.requests)


@given(st.lists(st.text()), st.integers(1, 9))
def test_blocks_hold_every_item_once_in_order(items, size):
    blocks = segment_by_count(items, size)
    assert [item for block in blocks for item in block] == items
    assert all(len(block) == size for block in blocks[:-1])
    assert len(blocks) == -(-len(items) // size)


def test_recurrent_updates_the_last_summary_with_each_next_block():
    asked, summary = prompts_of(recurrent(blocks_of(3), FakePrompts()))
    assert asked == [["block", "i0", "i1"], ["update", "s0", "i2", "i3"], ["update", "s1", "i4", "i5"]]
    assert summary == "s2"


def test_hierarchical_merges_all_blocks_once_where_they_fit():
    asked, summary = prompts_of(hierarchical(blocks_of(3), FakePrompts(fan_in=3)))
    assert asked == [["block", "i0", "i1"], ["block", "i2", "i3"], ["block", "i4", "i5"], ["merge", "s0", "s1", "s2"]]
    assert summary == "s3"


def test_a_leftover_goes_up_without_a_call_and_stays_the_latest():
    asked, summary = prompts_of(hierarchical(blocks_of(4), FakePrompts(fan_in=3)))
    assert asked[4:] == [["merge", "s0", "s1", "s2"], ["merge", "s4", "s3"]]
    assert summary == "s5"


def test_a_recurrent_request_knows_the_summary_it_renews_and_all_items_so_far():
    """What stands in for a faulty text: the summary before it, or words about every item it was to sum up."""
    asked, _ = requests_of(recurrent(blocks_of(3), FakePrompts()))
    assert [request.previous for request in asked] == ["", "s0", "s1"]
    assert [request.items for request in asked] == [tuple(f"i{at}" for at in range(end)) for end in (2, 4, 6)]


def test_a_hierarchical_request_knows_the_items_under_it_and_renews_none():
    asked, _ = requests_of(hierarchical(blocks_of(4), FakePrompts(fan_in=3)))
    assert [request.items for request in asked[:4]] == blocks_of(4)
    assert [request.items for request in asked[4:]] == [tuple(f"i{at}" for at in range(end)) for end in (6, 8)]
    assert {request.previous for request in asked} == {""}


@pytest.mark.parametrize(
    ("method", "blocks", "fan_in", "waves"),
    [
        (recurrent, 3, 3, [(1, 2), (1, 1), (1, 0)]),
        (hierarchical, 1, 3, [(1, 0)]),
        (hierarchical, 3, 3, [(3, 1), (1, 0)]),
        (hierarchical, 4, 3, [(4, 2), (1, 1), (1, 0)]),
        (hierarchical, 7, 2, [(7, 3), (3, 2), (2, 1), (1, 0)]),
    ],
)
def test_a_wave_holds_all_that_is_ready_and_says_how_many_come_after_it(method, blocks, fan_in, waves):
    """The runner takes the longest way first; a wrong count leaves slots empty at the end of a run."""
    assert waves_of(method(blocks_of(blocks), FakePrompts(fan_in))) == waves


@given(st.integers(0, 60), st.integers(2, 6))
def test_the_waves_left_count_down_to_none(blocks, fan_in):
    for method in (recurrent, hierarchical):
        left = [left for _, left in waves_of(method(blocks_of(blocks), FakePrompts(fan_in)))]
        assert left == list(range(len(left)))[::-1]


@pytest.mark.parametrize(
    ("blocks", "fan_in", "calls"),
    [(0, 3, 0), (1, 3, 1), (2, 3, 3), (3, 3, 4), (4, 3, 6), (5, 3, 8), (9, 3, 13), (10, 3, 15), (5, 2, 9), (5, 8, 6)],
)
def test_hierarchical_calls(blocks, fan_in, calls):
    assert follow(hierarchical(blocks_of(blocks), FakePrompts(fan_in))).calls == calls


@pytest.mark.parametrize("blocks", [0, 1, 2, 7])
def test_recurrent_calls(blocks):
    assert follow(recurrent(blocks_of(blocks), FakePrompts())).calls == blocks


@pytest.mark.parametrize("method", [recurrent, hierarchical])
def test_no_history_is_an_empty_summary(method):
    assert follow(method([], FakePrompts())).summary == ""


def test_a_merge_prompt_too_small_for_two_is_an_error_not_an_endless_tree():
    with pytest.raises(ConfigError, match="max_prompt_tokens"):
        follow(hierarchical(blocks_of(2), FakePrompts(fan_in=1)))


@given(st.integers(1, 60), st.integers(2, 6))
def test_a_new_block_costs_one_leaf_and_its_path_up(blocks, fan_in):
    before = set(follow(hierarchical(blocks_of(blocks), FakePrompts(fan_in))).steps)
    after = follow(hierarchical(blocks_of(blocks + 1), FakePrompts(fan_in))).steps
    height, width = 0, blocks + 1
    while width > 1:
        height, width = height + 1, -(-width // fan_in)
    assert 2 <= len(set(after) - before) <= 1 + height


@given(st.integers(1, 20))
def test_a_new_block_costs_one_recurrent_call(blocks):
    before = follow(recurrent(blocks_of(blocks), FakePrompts())).steps
    after = follow(recurrent(blocks_of(blocks + 1), FakePrompts())).steps
    assert after[:-1] == before
