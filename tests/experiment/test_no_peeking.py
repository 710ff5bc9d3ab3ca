"""A prompt knows what came before its target and nothing else, end to end; where it knows more, the run says so."""

import json

import polars as pl
import pytest

from experiment.tiny_shop import config_of, make_base, make_shop
from trsr.experiment.run import run_experiment
from trsr.prompts.ranking import RankingPrompts

ORDER = {"train": -3, "valid": -2, "test": -1}  # places of the targets where the last events are held out


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("peeking") / "base")


def shop_of(folder, change=lambda items, events: (items, events)):
    """The bookshop with a time of its own for every event, after `change` of its frames."""
    make_shop(folder)
    items, events = (pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "interactions"))
    for name in ("item_truth", "reader_truth"):
        (folder / f"{name}.parquet").unlink()
    events = events.with_columns(timestamp=pl.int_range(pl.len()).over("user_id") * 1000)
    items, events = change(items, events)
    items.write_parquet(folder / "items.parquet")
    events.write_parquet(folder / "interactions.parquet")
    return folder


def replace_from(place):
    """Put an item that the user never had into the event at `place` and into all behind it."""

    def change(items, events):
        every = items["item_id"].to_list()
        changed = []
        for (_,), own in events.group_by("user_id", maintain_order=True):
            had = own["item_id"].to_list()
            new = [item for item in every if item not in had][:-place]
            changed.append(own.with_columns(item_id=pl.Series(had[:place] + new)))
        return items, pl.concat(changed)

    return change


def settings(base, shop, **changes):
    small = {"max_train": 6, "max_valid": 4, "max_test": 6, "by": "last"}
    return config_of(base, shop, **({"methods": ["recurrent"], "split": small} | changes))


def prefixes(base, shop, out, monkeypatch):
    """Prefix ids by split, of all prompts that the run trains on and scores."""
    built = []
    build = RankingPrompts.build

    def watched(self, summary, history, candidates):
        prompt = build(self, summary, history, candidates)
        built.append(prompt.prefix)
        return prompt

    with monkeypatch.context() as patch:
        patch.setattr(RankingPrompts, "build", watched)
        run_experiment(settings(base, shop), out)
    counts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["data"]["examples"]
    parts, start = {}, 0
    for name, split in (("untuned", "test"), ("train", "train"), ("valid", "valid"), ("tuned", "test")):
        parts[name] = built[start : start + counts[split]]
        start += counts[split]
    assert start == len(built)
    assert parts["untuned"] == parts.pop("tuned")
    parts["test"] = parts.pop("untuned")
    return parts


def test_no_prompt_changes_when_its_target_and_all_that_follows_change(base, tmp_path, monkeypatch):
    whole = prefixes(base, shop_of(tmp_path / "whole"), tmp_path / "run", monkeypatch)
    assert {split: len(set(part)) for split, part in whole.items()} == {"train": 6, "valid": 4, "test": 6}
    for split, place in ORDER.items():
        changed = prefixes(base, shop_of(tmp_path / split, replace_from(place)), tmp_path / f"run-{split}", monkeypatch)
        assert changed[split] == whole[split]
        later = [other for other, at in ORDER.items() if at > place]
        assert all(changed[other] != whole[other] for other in later), "the change reached no prompt at all"


def test_candidates_and_prompts_of_a_clean_run_are_found_clean(base, tmp_path):
    run_experiment(settings(base, shop_of(tmp_path / "shop")), tmp_path / "run")
    checks = checks_of(tmp_path / "run")
    assert checks["negatives are no target and no history item (test)"] == (
        "ok",
        "0 of 6 examples have one that is; the whole history counts",
    )
    assert checks["negatives are no target and no history item (train)"][0] == "ok"
    assert checks["targets are new to the user"][0] == "ok"
    assert checks["a constant scorer gets chance"] == ("ok", "recall@3 of a constant scorer 0.3000, k/n 0.3000")
    assert checks["the target is not in its own prompt (recurrent, test)"][0] == "ok"


def checks_of(run):
    entries = json.loads((run / "checks.json").read_text(encoding="utf-8"))
    return {entry["check"]: (entry["result"], entry["detail"]) for entry in entries}


def plant(what):
    """Write `what` of every user's target into an attribute of the item that the user had just before it."""

    def change(items, events):
        titles = dict(items.select("item_id", "title").iter_rows())
        planted = {}
        for (_,), own in events.group_by("user_id"):
            before, target = own["item_id"].to_list()[-2:]
            text = target if what == "id" else titles[target]
            planted.setdefault(before, []).append(text)
        column = "title" if what == "title in title" else "subjects"
        rows = [
            row | {column: "; ".join([*planted.get(row["item_id"], []), str(row[column])])} for row in items.to_dicts()
        ]
        return pl.DataFrame(
            rows, schema=items.schema if column == "title" else {**items.schema, column: pl.String}
        ), events

    return change


@pytest.mark.parametrize("what", ["title in title", "title in another attribute", "id"])
def test_a_target_that_is_named_in_its_own_prompt_is_found(base, tmp_path, what):
    shop = shop_of(tmp_path / "shop", plant(what))
    run_experiment(settings(base, shop, methods=["none"]), tmp_path / "run")
    result, detail = checks_of(tmp_path / "run")["the target is not in its own prompt (none, test)"]
    assert result == "look"
    found, _, rest = detail.partition(" of ")
    assert int(found) == 6 or (what == "title in title" and int(found) > 0)  # a target's own title may be planted in
    assert rest.startswith("6 prefixes hold the title or id of a target that is new to the user, 0 of one that repeats")


def test_a_target_that_is_named_in_its_summary_is_found(base, tmp_path):
    config = settings(base, shop_of(tmp_path / "shop"))
    run = run_experiment(config, tmp_path / "run")
    examples, items = pl.read_parquet(run / "examples.parquet"), pl.read_parquet(tmp_path / "shop" / "items.parquet")
    titles = dict(items.select("item_id", "title").iter_rows())
    target = dict(examples.select("example_id", "item_id").iter_rows())
    summaries = pl.read_parquet(run / "summaries.parquet")
    planted = [f"Likes  {titles[target[example]].upper()}, so it seems" for example in summaries["example_id"]]
    summaries.with_columns(summary=pl.Series(planted)).write_parquet(run / "summaries.parquet")
    run_experiment(config, run)
    result, detail = checks_of(run)["the target is not in its own prompt (recurrent, test)"]
    assert (result, detail[:6]) == ("look", "6 of 6")


def test_a_target_that_the_user_had_before_is_counted_as_a_repeat(base, tmp_path):
    def repeat(items, events):
        last = pl.col("item_id").shift(1).over("user_id")
        is_last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
        return items, events.with_columns(item_id=pl.when(is_last).then(last).otherwise(pl.col("item_id")))

    run_experiment(settings(base, shop_of(tmp_path / "shop", repeat), methods=["none"]), tmp_path / "run")
    checks = checks_of(tmp_path / "run")
    assert checks["targets are new to the user"][0] == "look"
    assert checks["targets are new to the user"][1].startswith("6 of 6 targets are repeats")
    assert checks["the target is not in its own prompt (none, test)"][1].endswith("6 of one that repeats")
