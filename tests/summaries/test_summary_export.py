from trsr.summaries.export import SummaryRow, summaries_frame
from trsr.summaries.runner import Profile


def test_every_profile_is_a_line_with_its_blocks_steps_and_calls():
    """A call that was tried again counts too: it was paid for."""
    row = SummaryRow("e1", "u1", "recurrent", [("a", "b"), ("c",)], Profile("now", ("then", "now"), ("k1", "k2", "k3")))
    frame = summaries_frame([row])
    assert frame.row(0) == ("e1", "u1", "recurrent", "now", [["a", "b"], ["c"]], ["then", "now"], 3)
    assert frame.columns == ["example_id", "user_id", "method", "summary", "blocks", "steps", "calls"]


def test_no_profiles_and_empty_profiles_have_the_same_columns():
    empty = SummaryRow("e1", "u1", "recurrent", [], Profile("", ()))
    assert summaries_frame([]).schema == summaries_frame([empty]).schema
