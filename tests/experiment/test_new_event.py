"""A new event costs the new work only, counted in calls of a real (tiny) LLM through the command's own code."""

import polars as pl
import pytest
import yaml

from experiment.tiny_shop import make_base, make_shop, settings
from trsr.experiment.profiles import ProfilePlace, update_folder
from trsr.summaries import quality

BLOCK = 4


@pytest.mark.parametrize("method", ["recurrent", "hierarchical"])
def test_a_new_block_costs_one_call_or_one_leaf_and_its_path(tmp_path, monkeypatch, method):
    monkeypatch.setattr(quality, "faults", lambda *_, **__: ())  # a random model writes what would be tried again
    base, shop = make_base(tmp_path / "base"), make_shop(tmp_path / "shop")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(base, shop)), encoding="utf-8")
    path = shop / "interactions.parquet"
    events = pl.read_parquet(path).with_columns(timestamp=pl.int_range(pl.len()).over("user_id"))
    per_user = events.group_by("user_id").len()

    def summarize(first):
        events.filter(pl.col("timestamp") < first).write_parquet(path)
        return update_folder(ProfilePlace(shop, str(tmp_path / "calls.sqlite"), config), method)

    assert per_user["len"].min() > 2 * BLOCK
    summarize(2 * BLOCK)
    again = summarize(2 * BLOCK)
    assert again["calls_made"] == 0
    grown = summarize(2 * BLOCK + 1)
    users = per_user.height
    if method == "recurrent":
        # one each, but users with the same summary and the same new item share theirs
        assert users / 2 < grown["calls_made"] <= users
        assert grown["calls_made"] + grown["calls_found"] == 3 * users
    else:  # a leaf of one item may be another user's leaf too; the merge is each user's own
        assert users < grown["calls_made"] <= 2 * users
