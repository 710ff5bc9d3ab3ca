"""The report of several runs: what may share a table, what one seed or setting does, and what is missing."""

import json
import re

import polars as pl
import pytest

from evaluation.run_folders import (
    COMPARISON,
    EVIL,
    MANIFEST,
    METRICS,
    SEGMENTS,
    SETTINGS,
    STORY,
    changed,
    fill_run,
    interval,
    shifted,
    with_users,
    write_json,
    write_run,
)
from evaluation.test_report import cells, headings, section, svgs
from trsr.errors import DataError
from trsr.evaluation.report import write_report
from trsr.evaluation.run_collection import collect_runs
from trsr.evaluation.run_files import read_run
from trsr.evaluation.run_groups import group_runs, settings_text, value_text


def page_of(*runs, **options):
    return write_report(*runs, out=runs[0].parent / "page.html", **options).read_text()


def learning_rates(folder):
    """Runs that differ in the learning rate, which changes the ranker alone."""
    return [
        write_run(folder / f"lr{rate}", shifted(by), changed(SETTINGS, training__learning_rate=rate))
        for rate, by in ((0.01, -0.2), (0.001, 0.0), (0.0001, -0.1))
    ]


def test_models_that_no_setting_changes_have_one_row(tmp_path):
    table = section(page_of(*learning_rates(tmp_path)), "Results").split("</table>")[0]
    assert [row[0] for row in cells(table)] == [
        "model",
        "chance",
        "trsr-recurrent · learning_rate 0.001",
        "trsr-recurrent · learning_rate 0.0001",
        "popularity",
        "trsr-recurrent · learning_rate 0.01",
    ]
    assert re.findall(r'class="best">([^<]+)<', table) == [".538", ".394"]


def test_a_setting_that_varies_has_a_chart_with_its_values_in_order(tmp_path):
    page = page_of(*learning_rates(tmp_path))
    part = section(page, "What the settings do")
    assert cells(part) == [
        ["model", "learning_rate 0.0001", "learning_rate 0.001", "learning_rate 0.01"],
        ["trsr-recurrent", ".294 [.263, .326]", ".394 [.363, .426]", ".194 [.163, .226]"],
    ]
    [chart] = svgs(part)
    assert chart.findtext("title") == "mrr@3/u20 by training.learning_rate"
    ticks = [text.text for text in chart.iter("text") if text.get("class") == "tick" and float(text.get("y")) > 220]
    assert ticks == ["0.0001", "0.001", "0.01"]
    heights = [float(path.get("transform").split()[1].rstrip(")")) for path in chart.findall("g/path[@transform]")]
    assert heights[1] < heights[0] < heights[2]


def test_two_settings_that_vary_are_told_apart_all_else_being_equal(tmp_path):
    runs = [
        write_run(
            tmp_path / f"{loss}{rate}",
            shifted(by),
            changed(SETTINGS, training__loss=loss, training__learning_rate=rate),
        )
        for loss, rate, by in (("answer", 1.0, 0.0), ("answer", 2.0, 0.1), ("binary", 1.0, 0.2), ("binary", 2.0, -0.1))
    ]
    rows = cells(section(page_of(*runs), "What the settings do"))
    assert ["model", "learning_rate 1", "learning_rate 2"] in rows
    assert ["trsr-recurrent · loss binary", ".594 [.563, .626]", ".294 [.263, .326]"] in rows
    assert ["trsr-recurrent · learning_rate 2", ".494 [.463, .526]", ".294 [.263, .326]"] in rows


def test_runs_that_differ_in_two_settings_at_once_show_no_effect_of_either(tmp_path):
    one = write_run(tmp_path / "one")
    other = changed(SETTINGS, training__loss="answer", training__learning_rate=0.1)
    page = page_of(one, write_run(tmp_path / "other", shifted(0.1), other))
    assert "What the settings do" not in headings(page)
    assert "trsr-recurrent · learning_rate 0.1, loss answer" in page


def test_a_run_given_twice_counts_once(tmp_path):
    run = write_run(tmp_path / "run")
    assert len(collect_runs([run, tmp_path / "run" / ".." / "run"]).runs) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": changed(MANIFEST, data__name="films")},
        {"manifest": changed(MANIFEST, data__examples__test=21)},
        {"manifest": changed(MANIFEST, data__split="last")},
        {"settings": changed(SETTINGS, candidates={"negatives": 50})},
        {"settings": changed(SETTINGS, split={"test": 0.2})},
        {"settings": changed(SETTINGS, data__min_rating=4.0)},
        {"metrics": {"chance": {"mrr@3/i~37": interval(0.1)}, "popularity": {"mrr@3/i~37": interval(0.2)}}},
    ],
)
def test_runs_of_other_data_or_protocol_share_no_table(tmp_path, change):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", **change)
    page = page_of(one, other)
    assert "2 runs in 2 parts that differ in data or protocol." in page
    assert re.findall(r">(Part \d): [^<]+</h2>", page) == ["Part 1", "Part 2"]
    assert page.count(">Results</h3>") == 2
    assert "cannot be compared" in page


@pytest.mark.parametrize("change", [{"candidates": {"train_negatives": 9}}, {"split": {"max_train": 10}}])
def test_what_only_training_sees_leaves_runs_comparable(tmp_path, change):
    runs = [read_run(write_run(tmp_path / "one")), read_run(write_run(tmp_path / "two", settings=SETTINGS | change))]
    assert len(group_runs(runs)) == 1


def test_settings_of_an_older_version_count_as_todays_defaults(tmp_path):
    known = changed(SETTINGS, training__clip=1.0)
    runs = [read_run(write_run(tmp_path / "old")), read_run(write_run(tmp_path / "new", settings=known))]
    assert group_runs(runs)[0].varied == {}


def test_unrelated_runs_are_called_by_their_folders(tmp_path):
    other = changed(SETTINGS, training={"loss": "answer", "epochs": 9, "lora_r": 2, "clip": 3.0, "lora_alpha": 4})
    page = page_of(write_run(tmp_path / "a" / "run"), write_run(tmp_path / "b" / "run", shifted(0.1), other))
    assert "trsr-recurrent · a/run" in page
    assert "trsr-recurrent · b/run" in page


def test_a_broken_or_unfinished_folder_gets_one_sentence_and_the_rest_is_shown(tmp_path):
    good, broken, unfinished = (write_run(tmp_path / name) for name in ("good", "broken", "unfinished"))
    (broken / "manifest.json").write_text("{")
    (unfinished / "metrics.json").unlink()
    rows = cells(section(page_of(good, broken, unfinished, tmp_path / "nowhere"), "Runs"))
    assert [row[0] for row in rows[1:]] == ["good", str(broken), str(unfinished), str(tmp_path / "nowhere")]
    assert rows[2][-1].startswith(f"unreadable {broken / 'manifest.json'}: Invalid JSON")
    assert (
        rows[3][-1] == f"unreadable {unfinished}: not finished, it has no metrics.json yet; continue it with `trsr run`"
    )
    assert "no such file; a report needs a folder made by `trsr run`" in rows[4][-1]


def test_when_no_run_can_be_read_the_first_reason_is_the_error(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/metrics\.json: no such file; a report needs"):
        write_report(tmp_path / "nowhere", tmp_path / "neither", out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


CELLS = [
    {"name": "base", "group": "base", "overrides": {}, "seed": None, "state": "done", "error": None},
    {"name": "loss-answer", "overrides": {"training.loss": "answer"}, "state": "done"},
    {"name": "loss-binary", "overrides": {"training.loss": "binary"}, "state": "failed", "error": f"no room {EVIL}"},
    {"name": "loss-pairwise", "overrides": {"training.loss": "pairwise"}, "seed": 8, "state": "waiting"},
]


def grid(folder, cells=CELLS):
    write_run(folder / "base")
    write_run(folder / "loss-answer", shifted(0.1), changed(SETTINGS, training__loss="answer"))
    write_json(folder / "grid.json", {"name": "losses", "varied": ["training.loss"], "seeds": None, "cells": cells})
    return folder


def test_a_grid_shows_its_cells_and_failed_ones_as_failed(tmp_path):
    path = write_report(grid(tmp_path / "losses"))
    assert path == tmp_path / "losses" / "report.html"
    page = path.read_text()
    assert "<script" not in page
    assert cells(section(page, "Runs"))[1:] == [
        ["base", "loss listwise", "7", "done"],
        ["loss-answer", "loss answer", "7", "done"],
        ["loss-binary", "loss binary", "–", "failed no room &lt;script&gt;alert(1)&lt;/script&gt;"],
        ["loss-pairwise", "loss pairwise", "8", "waiting not run yet"],
    ]
    assert cells(section(page, "What the settings do"))[0] == ["model", "loss listwise", "loss answer"]


def test_a_grid_that_is_none_is_named(tmp_path):
    folder = grid(tmp_path / "g", [CELLS[0] | {"name": "../../etc"}])
    with pytest.raises(DataError, match=r"grid\.json: cell '../../etc' is no folder beside this file; write it again"):
        write_report(folder)
    write_json(folder / "grid.json", {"name": "g"})
    with pytest.raises(DataError, match=r"grid\.json: cells: Field required; write this file again with `trsr run`$"):
        write_report(folder)
    write_json(folder / "grid.json", {"name": "g", "cells": [CELLS[2]]})
    with pytest.raises(DataError, match=r"^g: no cell of this grid is done; run it with `trsr run`$"):
        write_report(folder)


def test_training_of_several_runs_is_one_chart_a_model(tmp_path):
    runs = [fill_run(run) for run in learning_rates(tmp_path)]
    part = section(page_of(*runs), "Training")
    [chart] = svgs(part)
    assert chart.findtext("title") == "trsr-recurrent: validation recall"
    assert len(chart.findall("polyline")) == 3
    assert len(cells(part)) == 1 + 3 * 3


def test_checks_of_several_runs_are_counted_and_told_where_they_want_a_look(tmp_path):
    runs = [fill_run(run) for run in learning_rates(tmp_path)]
    part = section(page_of(*runs), "Checks")
    assert "3 of 6 checks of 3 runs are ok." in part
    assert [row[1] for row in cells(part)[1:]] == ["scores | ties"] * 3


def test_the_stories_are_those_of_the_best_run(tmp_path):
    runs = [fill_run(run) for run in learning_rates(tmp_path)]
    write_json(runs[1] / "stories.json", [STORY | {"user_id": "of the best"}])
    part = section(page_of(*runs), "Users’ stories")
    assert "Of the run learning_rate 0.001, whose ranker is the best." in part
    assert part.count("<summary>") == 1
    assert "of the best" in part


def test_what_runs_share_is_told_once(tmp_path):
    part = section(page_of(*learning_rates(tmp_path)), "How it was made")
    assert dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", part))["trsr"] == "0.1.0"
    assert cells(part)[0] == ["run", "run again"]
    assert part.count("<details>") == 6


def test_many_runs_fit_on_a_page(tmp_path):
    runs = [
        fill_run(
            write_run(
                tmp_path / f"run{place}",
                shifted(place / 100),
                changed(SETTINGS, training={"lora_r": 1 + place % 5, "epochs": 1 + place // 5}),
            )
        )
        for place in range(20)
    ]
    page = page_of(*runs)
    assert "The plots show the first 16 rows." in page
    assert "the best 6 of 20 runs" in page
    svgs(page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_settings_are_told_in_few_words():
    assert settings_text({"a.size": 2, "b.size": None, "c.on": True}, ["a.size", "b.size", "c.on"]) == (
        "a.size 2, b.size none, on yes"
    )
    assert [value_text(value) for value in (0.001, 1e-05, [], ["none", "recent"], "x")] == [
        "0.001",
        "1e-05",
        "none",
        "none+recent",
        "x",
    ]


def test_the_same_metrics_in_another_order_are_the_same(tmp_path):
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other", dict(reversed(METRICS.items())), changed(SETTINGS, training__loss="answer"))
    assert [row.label for row in group_runs([read_run(one), read_run(other)])[0].rows] == [
        "chance",
        "trsr-recurrent",
        "popularity",
    ]


def test_runs_of_many_settings_are_told_by_what_they_have_other_than_the_first(tmp_path):
    keys = ("training__learning_rate", "training__loss", "training__epochs", "training__lora_r", "training__clip")
    keys += ("training__warmup", "training__weight_decay")
    runs = [write_run(tmp_path / "base")]
    runs += [write_run(tmp_path / key, settings=changed(SETTINGS, **{key: 9})) for key in keys]
    runs += [write_run(tmp_path / "most", settings=changed(SETTINGS, **dict.fromkeys(keys, 7)))]
    runs += [write_run(tmp_path / "models", settings=changed(SETTINGS, methods=["none"]))]
    told = {row[0]: row[1] for row in cells(section(page_of(*runs), "Runs")) if row}
    assert told["base"] == "what the others are told by their difference to"
    assert told["training__clip"] == "clip 9"
    assert told["most"] == "7 settings, see config.yaml"
    assert told["models"] == "in models alone"


def test_runs_on_the_same_candidates_are_tested_against_the_first(tmp_path):
    base, other = (with_users(run, gain) for run, gain in zip(learning_rates(tmp_path)[1:], (0.0, 0.1), strict=True))
    page = page_of(base, other)
    assert "do not rank the same candidates" not in page
    [row] = [row for row in cells(section(page, "What the settings do")) if "mrr@3/u20" in row]
    assert row[:4] == [
        "trsr-recurrent · learning_rate 0.0001",
        "trsr-recurrent · learning_rate 0.001",
        "mrr@3/u20",
        ".150 [.125, .175]",
    ]
    assert row[4] == "&lt; .001"


@pytest.mark.parametrize(("key", "is_tested"), [("other", True), ("same", False), ("", True)])
def test_one_model_in_two_runs_of_a_grid_is_told_once_and_not_tested_against_itself(tmp_path, key, is_tested):
    """Such a test would make the correction of all others stricter; without a key, it is not known to be one model."""
    base, other = (with_users(run, gain) for run, gain in zip(learning_rates(tmp_path)[1:], (0.0, 0.1), strict=True))
    for run, noted in ((base, "same" if key else ""), (other, key)):
        write_json(run / "manifest.json", MANIFEST | {"inputs": {"trsr-recurrent": noted}})
    page = page_of(base, other)
    assert ("Paired tests with the first run" in page) == is_tested
    told = [row[0] for row in cells(section(page, "Results")) if row[0].startswith("trsr-recurrent")]
    assert len(told) == 1 + is_tested
    if not is_tested:
        third = with_users(write_run(tmp_path / "third", settings=changed(SETTINGS, training__learning_rate=0.5)), 0.2)
        table = cells(section(page_of(other, base, third), "Results"))
        told = [row[0] for row in table if row[0].startswith("trsr-recurrent")]
        assert sorted(told) == ["trsr-recurrent · learning_rate 0.0001", "trsr-recurrent · learning_rate 0.5"]


def test_a_test_between_models_that_runs_share_is_told_once(tmp_path):
    base, other = (with_users(run, gain) for run, gain in zip(learning_rates(tmp_path)[1:], (0.0, 0.1), strict=True))
    shared = {"trsr-recent": METRICS["popularity"]}
    for run, key in ((base, "a"), (other, "b")):
        write_json(
            run / "manifest.json",
            MANIFEST | {"inputs": {"trsr-recurrent": key, "trsr-recent": "same", "popularity": "p"}},
        )
        write_json(run / "metrics.json", json.loads((run / "metrics.json").read_text()) | shared)
        write_json(run / "comparisons.json", [
            COMPARISON | {"metric": "mrr@3/u20", "model": model, "against": against}
            for model, against in (("trsr-recent", "popularity"), ("trsr-recurrent", "trsr-recent"))
        ])  # fmt: skip
    page = page_of(base, other)
    told = [row[:3] for row in cells(section(page, "Is it better?"))[1:]]
    rates = ["learning_rate 0.001", "learning_rate 0.0001"]
    assert told == [
        ["trsr-recent", rates[0], "popularity"],
        *(["trsr-recurrent", rate, "trsr-recent"] for rate in rates),
    ]
    assert [row[:2] for row in cells(section(page, "Does the summary help?"))[1:]] == [
        ["trsr-recurrent", rate] for rate in rates
    ]


def test_a_test_whose_models_are_shared_with_two_other_runs_is_told(tmp_path):
    """Each of the models has its row under a run that has no test of the two."""
    keys = {"trsr-recurrent": "a", "trsr-recent": "b"}
    runs = []
    for name, models in (("one", ["trsr-recurrent"]), ("two", ["trsr-recent"]), ("both", list(keys))):
        metrics = dict.fromkeys(models, METRICS["trsr-recurrent"])
        inputs = {model: keys[model] for model in models}
        runs.append(write_run(tmp_path / name, metrics, manifest=MANIFEST | {"inputs": inputs}))
    test = COMPARISON | {"metric": "mrr@3/u20", "model": "trsr-recurrent", "against": "trsr-recent"}
    write_json(runs[2] / "comparisons.json", [test])
    assert len(cells(section(page_of(*runs), "Is it better?"))) == 2


def test_rankers_of_runs_that_differ_in_their_methods_only_are_a_line_over_what_they_read(tmp_path):
    recurrent = METRICS["trsr-recurrent"]
    base = METRICS | {"trsr-none": METRICS["popularity"], "trsr-recent": METRICS["popularity"]}
    del base["trsr-recurrent"]
    runs = [
        write_run(tmp_path / "base", base, changed(SETTINGS, methods=["none", "recent"])),
        write_run(tmp_path / "cell", {"chance": METRICS["chance"], "trsr-recurrent": recurrent}),
        write_run(tmp_path / "loss", base, changed(SETTINGS, methods=["none", "recent"], training__loss="answer")),
    ]
    page = page_of(*runs)
    part = section(page, "What the settings do")
    assert "mrr@3/u20 by summary" in [svg.findtext("title") for svg in svgs(part)]
    [row] = [row for row in cells(part) if row[0] == "base" and len(row) == 4]
    assert row == ["base", ".254 [.223, .285]", ".254 [.223, .285]", ".394 [.363, .426]"]
    assert "by summary" not in page_of(runs[0], runs[2])
    fewer = {model: {"recall@3/u20": values["recall@3/u20"]} for model, values in (base | METRICS).items()}
    write_run(runs[2], fewer, changed(SETTINGS, training__loss="answer"))
    assert "mrr@3/u20 by summary" in page_of(*runs)


def test_runs_on_other_candidates_are_not_tested(tmp_path):
    base, other = (with_users(run, gain) for run, gain in zip(learning_rates(tmp_path)[1:], (0.0, 0.1), strict=True))
    pairs = {"example_id": ["a", "a"], "item_id": ["x", "z"], "label": [0, 1]}
    pl.DataFrame(pairs).write_parquet(other / "candidates.parquet")
    page = page_of(base, other)
    assert "do not rank the same candidates" in page
    assert "Paired tests with the first run" not in page


def test_what_is_only_measured_otherwise_is_no_setting_of_a_model(tmp_path):
    measured = {"evaluation": {"ks": [3, 5], "resamples": 500}, "checks": {"control_examples": 0}, "untuned": False}
    other = changed(SETTINGS, **measured)
    [group] = group_runs(
        [read_run(write_run(tmp_path / "one")), read_run(write_run(tmp_path / "other", settings=other))]
    )
    assert group.varied == {}
    assert len(group.variants) == 2


def test_parts_that_one_run_lacks_keep_their_order(tmp_path):
    one, other = learning_rates(tmp_path)[:2]
    parts = {
        bucket: SEGMENTS["popularity/0"] | {"bucket": bucket, "low": low}
        for bucket, low in (("0", 0), ("1-4", 1), ("5+", 5))
    }
    write_json(one / "segments.json", {bucket: parts[bucket] for bucket in ("0", "5+")})
    write_json(other / "segments.json", parts)
    assert cells(section(page_of(one, other), "For whom"))[0] == ["model", "0", "1-4", "5+"]
