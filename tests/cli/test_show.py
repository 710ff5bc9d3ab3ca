"""`trsr data show`; if these fail, what stands in a data set acts on the terminal of whoever looks at it."""

import polars as pl


def test_nothing_in_a_data_set_reaches_the_terminal_as_a_control(trsr, tmp_path):
    odd = "a\x07b\x1b]0;title\x07\nc"
    pl.DataFrame({"item_id": [odd], "title": [odd]}).write_parquet(tmp_path / "items.parquet")
    events = pl.DataFrame({"user_id": ["u"], "item_id": [odd], "timestamp": [5]})
    events.write_parquet(tmp_path / "interactions.parquet")
    for option, name in (("--item", odd), ("--user", "u")):
        shown = trsr("data", "show", tmp_path, option, name)
        assert shown.code == 0
        assert "a b" in shown.out
        assert shown.out.replace("\n", "").isprintable()
