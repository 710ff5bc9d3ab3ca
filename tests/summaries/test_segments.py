"""Segments: what a user's history is cut into, and that no block outgrows its prompt."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prompts.prompt_parts import make_writer, size
from trsr.config import SummaryConfig
from trsr.data.histories import History
from trsr.errors import ConfigError
from trsr.summaries.segments import Segmenter, Segments

HOUR = 3600


def history(count, times=None):
    return History("u1", tuple(f"i{place}" for place in range(count)), tuple(times or range(count)))


def cut(wanted, tokens_of=len, max_history=None, **changes):
    return Segmenter(SummaryConfig(**changes), tokens_of, max_history)(wanted)


def lengths(segments):
    return [len(block) for block in segments.blocks]


def test_the_paper_s_rule_counts():
    assert cut(history(7), block_size=3) == Segments((("i0", "i1", "i2"), ("i3", "i4", "i5"), ("i6",)), 7)
    assert cut(history(0)) == Segments((), 0)


def test_a_block_that_is_not_whole_waits_where_that_is_asked_for():
    assert cut(history(7), block_size=3, last_block="wait") == Segments((("i0", "i1", "i2"), ("i3", "i4", "i5")), 6)
    assert cut(history(6), block_size=3, last_block="wait").events == 6
    assert cut(history(2), block_size=3, last_block="wait") == Segments((), 0)


def test_blocks_by_tokens_hold_what_fits_and_an_item_that_does_not_stands_alone():
    sizes = {f"i{place}": tokens for place, tokens in enumerate([10, 10, 10, 50, 5, 5, 5, 5])}
    segments = cut(history(8), sizes.__getitem__, segments="tokens", block_tokens=25, block_size=3)
    assert lengths(segments) == [2, 1, 1, 3, 1]


def test_blocks_by_session_end_where_a_user_was_away_for_long():
    times = [0, HOUR, 3 * HOUR, 3 * HOUR + 1, 9 * HOUR, 9 * HOUR + 1, 9 * HOUR + 2]
    segments = cut(history(7, times), segments="session", session_hours=1.5, block_size=2)
    assert segments.blocks == (("i0", "i1"), ("i2", "i3"), ("i4", "i5"), ("i6",))


def test_sessions_need_times():
    with pytest.raises(ConfigError, match="user 'u1' has an event without a time; take count or tokens"):
        cut(history(3, [1, None, 3]), segments="session", session_hours=1)


def test_a_window_moves_by_whole_blocks():
    """Or every event of a long history would have all its blocks summed up anew."""
    windows = [cut(history(count), block_size=3, max_history=7) for count in range(6, 13)]
    assert [segments.blocks[0][0] for segments in windows] == ["i0", "i0", "i3", "i3", "i3", "i6", "i6"]
    assert [sum(lengths(segments)) for segments in windows] == [6, 7, 5, 6, 7, 5, 6]
    assert [segments.events for segments in windows] == list(range(6, 13))


def test_a_window_smaller_than_a_block_holds_the_latest_events():
    assert cut(history(9), block_size=5, max_history=2).blocks == (("i7", "i8"),)


RULES = st.sampled_from(
    [{}, {"segments": "tokens", "block_tokens": 40}, {"segments": "session", "session_hours": 0.01}]
)


@given(
    gaps=st.lists(st.integers(0, 90), max_size=40),
    size=st.integers(1, 6),
    rule=RULES,
    last=st.sampled_from(["include", "wait"]),
)
def test_nothing_is_lost_and_a_new_event_changes_no_block_but_the_last(gaps, size, rule, last):
    times = [sum(gaps[:place]) for place in range(len(gaps))]
    tokens = {f"i{place}": 1 + gap for place, gap in enumerate(gaps)}
    whole = cut(history(len(gaps), times), tokens.__getitem__, block_size=size, last_block=last, **rule)
    items = [item for block in whole.blocks for item in block]
    assert items == [f"i{place}" for place in range(whole.events)]
    assert whole.events == len(gaps) if last == "include" else whole.events <= len(gaps)
    assert all(1 <= length <= size for length in lengths(whole))
    before = cut(history(len(gaps) - 1, times[:-1]), tokens.__getitem__, block_size=size, last_block=last, **rule)
    settled = before.blocks if last == "wait" else before.blocks[:-1]
    assert whole.blocks[: len(settled)] == settled


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(300, 2000),
    block_tokens=st.integers(8, 900),
    size=st.integers(1, 8),
    item_tokens=st.integers(8, 200),
)
def test_no_block_s_prompt_is_above_the_limit_and_long_items_are_counted(limit, block_tokens, size, item_tokens):
    changes = {"segments": "tokens", "block_tokens": block_tokens, "block_size": size, "item_tokens": item_tokens}
    try:
        writer = make_writer(max_prompt_tokens=limit, **changes)
    except ConfigError:
        assume(False)
    config = SummaryConfig(max_prompt_tokens=limit, **changes)
    wanted = History("u1", tuple(f"b{place % 8}" for place in range(20)), tuple(range(20)))
    segments = Segmenter(config, writer.item_tokens)(wanted)
    summary = writer.finish("y" * 3000)
    assert segments.events == 20
    for block in segments.blocks:
        assert len(block) == 1 or sum(map(writer.item_tokens, block)) <= block_tokens
        assert size_of(writer, summary, block) <= limit
    assert len(writer.items.shortened) == 8  # every one of them is longer than any budget here


def size_of(writer, summary, block):
    return max(size(writer, writer.block(block)), size(writer, writer.update(summary, block)))
