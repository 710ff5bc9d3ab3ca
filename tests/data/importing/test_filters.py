"""Filters: the events that the slow obvious way keeps, in their order, and counts that add up."""

import math
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.config import FilterConfig
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER
from trsr.data.importing.filters import filter_events
from trsr.errors import ConfigError

SCHEMA = {USER: pl.String, ITEM: pl.String, TIME: pl.Int64, POSITION: pl.Int64, RATING: pl.Float64}
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            USER: st.sampled_from("uvw"),
            ITEM: st.sampled_from("abcdx"),
            TIME: st.none() | st.integers(0, 5),
            POSITION: st.integers(0, 5),
            RATING: st.none() | st.sampled_from([1.0, 2.5, 4.0, math.nan]),
        }
    ),
    max_size=25,
)
CONFIGS = st.builds(
    FilterConfig,
    min_rating=st.none() | st.sampled_from([2.5, 3.0]),
    since=st.none() | st.just(datetime(1970, 1, 1, 1, 0, 1, tzinfo=timezone(timedelta(hours=1)))),
    until=st.none() | st.just(datetime(1970, 1, 1, 0, 0, 4, tzinfo=UTC)),
    repeats=st.sampled_from(["keep", "first", "last"]),
    core=st.none() | st.integers(1, 3),
    min_history=st.none() | st.integers(1, 4),
)
KNOWN = pl.Series(list("abcd"))


def rated(event, least) -> bool:
    return event[RATING] is not None and not math.isnan(event[RATING]) and event[RATING] >= least


def within(event, config) -> bool:
    if (config.since or config.until) and event[TIME] is None:
        return False
    return (not config.since or event[TIME] >= 1) and (not config.until or event[TIME] < 4)


def moment(event, events, columns):
    """What tells first from last."""
    timed = TIME in columns and all(other[TIME] is not None for other in events)
    if POSITION in columns and not timed:
        return (event[POSITION],)
    if TIME not in columns:
        return ()
    return (-1 if event[TIME] is None else event[TIME], *([event[POSITION]] if POSITION in columns else []))


def one_each(events, config, columns):
    found: dict = {}
    for place, event in enumerate(events):
        when = (*moment(event, events, columns), place)
        best = found.get((event[USER], event[ITEM]))
        if best is None or (when < best if config.repeats == "first" else when > best):
            found[event[USER], event[ITEM]] = when
    kept = {when[-1] for when in found.values()}
    return [event for place, event in enumerate(events) if place in kept]


def often(events, name, least):
    return [event for event in events if sum(other[name] == event[name] for other in events) >= least]


def slowly(events, config, columns):
    """The events that stay and how many each step takes out."""
    steps = [[event for event in events if event[ITEM] in KNOWN]]
    if config.min_rating is not None:
        steps.append([event for event in steps[-1] if rated(event, config.min_rating)])
    if config.since or config.until:
        steps.append([event for event in steps[-1] if within(event, config)])
    if config.repeats != "keep":
        steps.append(one_each(steps[-1], config, columns))
    if config.core:
        left, before = steps[-1], None
        while left != before:
            before, left = left, often(often(left, USER, config.core), ITEM, config.core)
        steps.append(left)
    if config.min_history:
        steps.append(often(steps[-1], USER, config.min_history))
    return steps[-1]


@given(EVENTS, CONFIGS, st.sampled_from([(TIME,), (POSITION,), (TIME, POSITION)]))
@settings(max_examples=120, deadline=None)
def test_the_slow_way_keeps_the_same_events(events, config, clock):
    if TIME not in clock:
        config = config.model_copy(update={"since": None, "until": None})
    columns = [USER, ITEM, *clock, RATING]
    frame = pl.DataFrame(events, schema=SCHEMA).select(columns)
    kept, removed = filter_events(frame.lazy(), KNOWN, config)
    expected = pl.DataFrame(slowly(events, config, columns), schema=SCHEMA).select(columns)
    assert kept.collect().rows(named=False).__repr__() == expected.rows(named=False).__repr__()  # NaN is not itself
    assert sum(removed.values()) == len(events) - expected.height
    assert all(count >= 0 for count in removed.values())


def events_of(*rows) -> pl.LazyFrame:
    return pl.DataFrame(rows, schema={name: SCHEMA[name] for name in (USER, ITEM, TIME, RATING)}, orient="row").lazy()


def test_every_step_tells_what_it_took_out():
    events = events_of(
        ("u", "a", 1, 5.0), ("u", "b", 2, 5.0), ("u", "a", 3, 5.0), ("u", "x", 3, 5.0),
        ("v", "a", 4, 2.0), ("v", "a", 5, None), ("v", "a", 6, 4.0), ("v", "b", None, 4.0), ("v", "b", 99, 4.0),
        ("w", "a", 7, 4.0),
    )  # fmt: skip
    config = FilterConfig(
        min_rating=4, since=datetime(1970, 1, 1), until=datetime(1970, 1, 1, 0, 1, 39), repeats="last", min_history=2
    )
    kept, removed = filter_events(events, KNOWN, config)
    assert kept.collect().rows() == [("u", "b", 2, 5.0), ("u", "a", 3, 5.0)]
    assert removed == {
        "of unknown items": 1,
        "rated below 4 or not rated": 2,
        "before 1970-01-01 00:00:00+00:00 or without a time": 1,
        "at or after 1970-01-01 00:01:39+00:00 or without a time": 1,
        "repeats of a user's item": 1,
        "of users with fewer than 2 events": 2,
    }


def test_the_core_is_taken_until_all_are_in_it():
    """Each user has two events and each item but the last has two; a chain falls apart from its end."""
    rows = [(f"u{n}", item, 1, None) for n in range(5) for item in (f"i{n}", f"i{n + 1}")]
    known = pl.Series([f"i{n}" for n in range(6)])
    kept, removed = filter_events(events_of(*rows), known, FilterConfig(core=2))
    assert kept.collect().is_empty()
    assert removed["outside the 2-core"] == 10
    square = [(user, item, 1, None) for user in ("v", "w") for item in ("i1", "i2")]
    kept, removed = filter_events(events_of(*rows, *square), known, FilterConfig(core=2))
    assert kept.collect().rows() == [("u1", "i1", 1, None), ("u1", "i2", 1, None), *square]


@pytest.mark.parametrize(
    "setting", [{"min_rating": 1}, {"since": datetime(2020, 1, 1)}, {"until": datetime(2020, 1, 1)}]
)
def test_a_filter_by_what_is_not_there_is_refused(setting):
    events = pl.LazyFrame({USER: ["u"], ITEM: ["a"], POSITION: [0]})
    with pytest.raises(ConfigError, match=next(iter(setting))):
        filter_events(events, KNOWN, FilterConfig(**setting))


def test_a_moment_without_a_zone_is_one_of_utc():
    zone = timezone(timedelta(hours=2))
    config = FilterConfig(since=datetime(2020, 1, 1), until=datetime(2020, 1, 1, 3, tzinfo=zone))
    assert config.since == datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="is not before until"):
        FilterConfig(since=datetime(2020, 1, 1, 1), until=datetime(2020, 1, 1, 3, tzinfo=zone))
