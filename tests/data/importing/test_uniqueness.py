"""Items that are there twice: the first stays, copies are counted, others are faults, in whatever batches they come."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr.data.columns import ITEM
from trsr.data.importing.rows import LINE
from trsr.data.importing.uniqueness import Unique

SCHEMA = {LINE: pl.Int64, ITEM: pl.String, "title": pl.String, "tags": pl.List(pl.String), "price": pl.Float64}
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["x", "y", None]),
        st.sampled_from([None, [], ["x"], ["x", "y"]]),
        st.sampled_from([None, 1.0, float("nan")]),
    ),
    max_size=12,
)


def slowly(rows):
    """Lines that stay, how many copies, and lines that are faults."""
    known: dict = {}
    kept, copies, faults = [], 0, []
    for line, (item, *rest) in enumerate(rows, 1):
        said = repr(rest)  # so that NaN is itself
        if item not in known:
            known[item] = said
            kept.append(line)
        elif known[item] == said:
            copies += 1
        else:
            faults.append(line)
    return kept, copies, faults


@given(ROWS, st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_the_slow_way_says_the_same(rows, size):
    frame = pl.DataFrame([(line, *row) for line, row in enumerate(rows, 1)], schema=SCHEMA, orient="row")
    unique, kept, faults = Unique(), [], []
    for part in frame.iter_slices(size):
        items, conflicts = unique.add(part)
        assert items.columns == frame.columns
        kept += items[LINE].to_list()
        faults += conflicts[LINE].to_list()
    assert (kept, unique.copies, faults) == slowly(rows)
    assert sorted(unique.ids()) == sorted({item for item, *_ in rows})
    assert len(unique) == len(kept)


def test_a_fault_names_the_item():
    frame = pl.DataFrame([(1, "a", "x", None, None), (5, "a", "y", None, None)], schema=SCHEMA, orient="row")
    _, faults = Unique().add(frame)
    assert faults.rows() == [(5, "item a is described otherwise further up", "")]
