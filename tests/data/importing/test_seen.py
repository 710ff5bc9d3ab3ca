"""What events tell while they are written; if this fails, events of unknown items stay, or users are counted wrong."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.data.columns import ITEM, USER
from trsr.data.importing import seen
from trsr.data.importing.rows import LINE
from trsr.data.importing.seen import Seen
from trsr.data.importing.uniqueness import Unique

EVENTS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("pqr")), max_size=30)


def known(items):
    unique = Unique()
    unique.add(pl.DataFrame({LINE: range(len(items)), ITEM: list(items)}))
    return unique


@given(EVENTS, st.integers(1, 7), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_users_and_unknown_items_in_whatever_batches(events, size, together):
    frame = pl.DataFrame(events, schema={USER: pl.String, ITEM: pl.String}, orient="row")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "TOGETHER", together)
        so_far = Seen(known("pq"))
        for part in frame.iter_slices(size):
            so_far.add(part)
        assert so_far.has_unknown() == any(item == "r" for _, item in events)
        assert so_far.users() == len({user for user, _ in events})


def test_items_may_be_known_only_behind_the_events():
    unique, events = known("p"), pl.DataFrame({USER: ["a"], ITEM: ["q"]})
    so_far = Seen(unique)
    so_far.add(events)
    unique.add(pl.DataFrame({LINE: [2], ITEM: ["q"]}))
    assert not so_far.has_unknown()
