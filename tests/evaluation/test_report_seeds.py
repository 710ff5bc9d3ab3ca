"""The report of runs with several seeds: users' means over them, their tests, and the spread."""

import json

import polars as pl
import pytest

from evaluation.run_folders import (
    COMPARISON,
    MANIFEST,
    METRICS,
    SEGMENTS,
    SETTINGS,
    changed,
    interval,
    shifted,
    with_users,
    write_json,
    write_run,
)
from evaluation.test_report import cells, headings, section, svgs
from evaluation.test_report_runs import page_of
from trsr.errors import DataError


def seeds(folder, *values, **changes):
    return [
        write_run(folder / f"seed{seed}", shifted(by), changed(SETTINGS, seed=seed, **changes)) for seed, by in values
    ]


def test_seeds_are_averaged_and_their_spread_is_told(tmp_path):
    runs = seeds(tmp_path, (7, 0.0), (8, 0.06), (9, 0.03))
    page = page_of(*runs)
    table = section(page, "Results").split("</table>")[0]
    assert cells(table)[2] == ["trsr-recurrent", ".568 [.538, .598]", ".424 [.394, .454]"]
    rows = cells(section(page, "Several seeds"))
    assert rows[2] == ["trsr-recurrent", "3", ".568", ".030", ".538 to .598", ".424", ".030", ".394 to .454"]
    assert "here 7, 8, 9" in page


def test_seeds_of_every_setting_are_averaged_by_themselves(tmp_path):
    runs = seeds(tmp_path / "a", (7, 0.0), (8, 0.1)) + seeds(
        tmp_path / "b", (7, 0.2), (8, 0.3), training__loss="answer"
    )
    rows = cells(section(page_of(*runs), "Several seeds"))
    assert [row[:4] for row in rows if row[0] == "trsr-recurrent"] == [
        ["trsr-recurrent", "loss listwise", "2", ".588"],
        ["trsr-recurrent", "loss answer", "2", ".788"],
    ]


def test_a_copy_of_a_run_is_no_second_seed(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("one", "copy")]
    assert "Several seeds" not in headings(page_of(*runs))


def test_over_seeds_the_answer_is_the_mean_difference_and_not_the_luckiest_seed(tmp_path):
    runs = seeds(tmp_path, (1, 0.0), (2, 0.1))
    for run, difference in zip(runs, (0.14, 0.24), strict=True):
        metrics = json.loads((run / "metrics.json").read_text()) | {"trsr-recent": METRICS["popularity"]}
        write_json(run / "metrics.json", metrics)
        test = {"metric": "mrr@3/u20", "model": "trsr-recurrent", "against": "trsr-recent", "difference": difference}
        write_json(run / "comparisons.json", [COMPARISON | test])
    part = section(page_of(*runs), "Does the summary help?")
    assert "Over 2 seeds it differs from trsr-recent by .190 in mrr@3/u20 on average, .140 to .240." in part
    assert "and not for the number of runs" in part


def training_seeds(folder, *gains, made="", **changes):
    """Runs on the same candidates with a recurrent ranker that gains over one on recent items, by the seed."""
    runs = []
    for seed, gain in enumerate(gains, 7):
        settings = changed(SETTINGS, methods=["recent", "recurrent"], training__seed=seed, **changes)
        tuned = {f"trsr-{method}": f"{method} {seed} {made}" for method in ("recurrent", "recent")}
        inputs = {"popularity": "the same", **tuned}
        folder_of = write_run(folder / f"seed{seed}", settings=settings, manifest=MANIFEST | {"inputs": inputs})
        run = with_users(folder_of, gain)
        values = pl.read_parquet(run / "per_user.parquet")
        recent = values.filter(pl.col("model") == "popularity").with_columns(model=pl.lit("trsr-recent"))
        pl.concat([values, recent]).write_parquet(run / "per_user.parquet")
        metrics = json.loads((run / "metrics.json").read_text())
        for model, mean in (("trsr-recurrent", 0.3 + 1.5 * gain), ("trsr-recent", 0.25)):
            metrics[model] = {"recall@3/u20": interval(mean), "mrr@3/u20": interval(mean)}
        write_json(run / "metrics.json", metrics)
        test = COMPARISON | {"metric": "mrr@3/u20", "model": "trsr-recurrent", "against": "trsr-recent"}
        write_json(run / "comparisons.json", [test])
        runs.append(run)
    return runs


def text(page):
    return page.replace("&#39;", "'")


def named(rows):
    """The first cells of a table without its header."""
    return [row[0] for row in rows[1:]]


def test_over_seeds_of_training_users_means_are_shown_and_tested(tmp_path):
    page = text(page_of(*training_seeds(tmp_path, 0.0, 0.1, 0.2)))
    row = next(row for row in cells(section(page, "Results")) if row[0] == "trsr-recurrent")
    assert row[1] == ".450 [.425, .475]"  # half of the users have .4, half .5
    [test] = [row for row in cells(section(page, "Does the summary help?")) if row[0] == "trsr-recurrent"]
    assert test[1:4] == ["trsr-recent", "mrr@3/u20", ".200 [.175, .225]"]
    told = section(page, "Does the summary help?")
    assert "Over 3 seeds, trsr-recurrent is ahead of trsr-recent by .200 [.175, .225] in mrr@3/u20" in told
    assert "From seed to seed the difference is .050 to .350." in told
    for part in ("Results", "Is it better?"):
        assert "a user's value is the mean over those that it was tested with" in section(page, part)
    assert "The tests of each seed are in comparisons.json." in page
    assert [row[2] for row in cells(section(page, "Runs"))[1:]] == ["7", "8", "9"]
    made = {row[0]: row for row in cells(section(page, "How it was made"))}
    assert [made[f"seed {seed}"][-1] for seed in (7, 8, 9)] == ["7", "8", "9"]


def test_one_seed_is_no_mean(tmp_path):
    [run] = training_seeds(tmp_path, 0.1)
    page = text(page_of(run))
    assert "the mean over those" not in page
    assert "All metrics are in comparisons.json." in page


def test_a_mix_is_held_against_the_best_mix_of_baselines_over_seeds_too(tmp_path):
    runs = training_seeds(tmp_path, 0.0, 0.1)
    for run in runs:
        settings = json.loads((run / "config.yaml").read_text())
        write_json(run / "config.yaml", settings | {"mixes": {"mix": ["popularity"], "trsr-mix": ["trsr-recurrent"]}})
        values, metrics = pl.read_parquet(run / "per_user.parquet"), json.loads((run / "metrics.json").read_text())
        for mix, model in (("mix", "popularity"), ("trsr-mix", "trsr-recurrent")):
            copy = values.filter(pl.col("model") == model).with_columns(model=pl.lit(mix))
            values, metrics[mix] = pl.concat([values, copy]), metrics[model]
        values.write_parquet(run / "per_user.parquet")
        write_json(run / "metrics.json", metrics)
    rows = cells(section(page_of(*runs), "Is it better?"))
    against = {row[1] for row in rows if row[0] == "trsr-mix" and row[2] == "mrr@3/u20"}
    assert against == {"popularity", "mix", "trsr-recent"}


@pytest.mark.parametrize("changed_alone", [{"resamples": 100}, {"seed": 99}])
def test_the_resamples_of_runs_are_those_of_their_users_means(tmp_path, changed_alone):
    usual = page_of(*training_seeds(tmp_path / "usual", 0.0, 0.1))
    other = page_of(*training_seeds(tmp_path / "other", 0.0, 0.1, evaluation=changed_alone))
    rows = [[row for row in cells(section(page, "Results")) if row[0] == "trsr-recurrent"] for page in (usual, other)]
    assert rows[0] != rows[1]
    assert rows[0][0][1][:4] == rows[1][0][1][:4]


def test_seeds_of_one_setting_beside_other_settings_leave_bounds_one_row(tmp_path):
    runs = training_seeds(tmp_path / "seeds", 0.0, 0.1, 0.2)
    rates = (0.1, 0.2, 0.3)
    runs += [run for r in rates for run in training_seeds(tmp_path / f"{r}", 0.3, made=r, training__learning_rate=r)]
    for run in runs:
        write_json(run / "segments.json", SEGMENTS)
        values, metrics = pl.read_parquet(run / "per_user.parquet"), json.loads((run / "metrics.json").read_text())
        best = values.filter(pl.col("model") == "chance").with_columns(pl.lit("oracle").alias("model"))
        pl.concat([values, best.with_columns(pl.col("mrr@3/u20", "recall@3/u20") + 0.6)]).write_parquet(
            run / "per_user.parquet"
        )
        write_json(run / "metrics.json", metrics | {"oracle": dict.fromkeys(metrics["chance"], interval(0.7))})
    names = named(cells(section(page_of(*runs), "Results").split("</table>")[0]))
    assert [names.count(one) for one in ("chance", "oracle", "popularity")] == [1, 1, 1]
    assert "trsr-recurrent · learning_rate 0.001 + 2 seeds" in names
    assert len(names) == 3 + 2 * 4


def test_a_chart_has_one_chance_where_candidates_differ(tmp_path):
    runs = training_seeds(tmp_path / "a", 0.0) + training_seeds(tmp_path / "b", 0.1, training__loss="answer")
    pairs = {"example_id": ["a", "a"], "item_id": ["x", "other"], "label": [0, 1]}
    pl.DataFrame(pairs).write_parquet(runs[1] / "candidates.parquet")
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    write_json(runs[1] / "metrics.json", metrics | {"chance": dict.fromkeys(metrics["chance"], interval(0.2))})
    for run in runs:
        write_json(run / "segments.json", SEGMENTS)
    page = page_of(*runs)
    assert "chance · loss answer" in named(cells(section(page, "Results").split("</table>")[0]))
    [chart] = svgs(section(page, "For whom"))
    assert [one.text for one in chart.iter("text") if "chance" in str(one.text)] == ["chance"]


def test_a_cell_that_has_one_of_the_seeds_is_no_setting_of_its_own(tmp_path):
    """It has the model of one seed, which is part of the mean over all, and would be tested against it."""
    runs = training_seeds(tmp_path / "base", 0.0, 0.1)
    other = {"summaries": {"template": "other"}}
    cell = training_seeds(tmp_path / "cell", 0.05, **other)[0]
    inputs = {"popularity": "the same", "trsr-recurrent": "another", "trsr-recent": "recent 7 "}
    write_json(cell / "manifest.json", MANIFEST | {"inputs": inputs})
    page = page_of(*runs, cell)
    names = named(cells(section(page, "Results").split("</table>")[0]))
    assert [name for name in names if "recent" in name] == ["trsr-recent"]
    part = cells(section(page, "What the settings do"))
    assert not [row for row in part if row[0].startswith("trsr-recent")]
    varied = {row[0] for row in part if row[0].startswith("trsr-recurrent")}
    assert varied == {"trsr-recurrent", "trsr-recurrent · template other"}
    tests = [row for row in cells(section(page, "Is it better?")) if row[0] == "trsr-recent" and row[3] == "mrr@3/u20"]
    assert [row[1:3] for row in tests] == [["template none + 1 seed", "popularity"]]


def test_settings_are_tested_over_the_seeds_that_both_have(tmp_path):
    """The mean over all seeds of one side beside one lucky seed of the other is no fair pair."""
    runs = training_seeds(tmp_path / "base", 0.0, 0.1, 0.2)
    cell = training_seeds(tmp_path / "cell", 0.1, made="cell", training__loss="answer")  # the first seed
    for order in ((*runs, *cell), (*cell, *runs)):
        page = text(page_of(*order))
        rows = cells(section(page, "What the settings do"))
        [test] = [row for row in rows if row[0].startswith("trsr-recurrent") and "mrr@3/u20" in row]
        assert test[3].removeprefix("-") in (".150 [.125, .175]", ".150 [-.175, -.125]")
        assert "a test is over those that both have" in page


def test_a_first_run_that_has_one_of_the_seeds_is_still_what_others_are_tested_with(tmp_path):
    seeds = training_seeds(tmp_path / "seeds", 0.0, 0.1, 0.2)
    first = training_seeds(tmp_path / "first", 0.0, untuned=False)
    cell = training_seeds(tmp_path / "cell", 0.1, made="cell", training__loss="answer")
    rows = cells(section(page_of(*first, *cell, *seeds), "What the settings do"))
    tests = [row for row in rows if row[0] == "trsr-recurrent · cell/seed7" and row[2:3] == ["mrr@3/u20"]]
    assert [row[3] for row in tests] == [".150 [.125, .175]"]


def test_one_model_of_unknown_origin_has_one_row_though_seeds_are_added_up_in_another_order(tmp_path):
    runs = training_seeds(tmp_path / "base", 0.0, 0.1, 0.2)
    runs += training_seeds(tmp_path / "cell", 0.1, made="cell", training__loss="answer")
    for run in runs:
        write_json(run / "manifest.json", MANIFEST)
        values, metrics = pl.read_parquet(run / "per_user.parquet"), json.loads((run / "metrics.json").read_text())
        third = pl.when(pl.col("model") == "popularity").then(0.1 + pl.col("mrr@3/u20") / 1.5)
        values.with_columns(third.otherwise(pl.col("mrr@3/u20")).alias("mrr@3/u20")).write_parquet(
            run / "per_user.parquet"
        )
        mean = 0.1 + 0.25 / 1.5
        metrics["popularity"] = {"recall@3/u20": dict.fromkeys(("mean", "low", "high"), 0.25)}
        metrics["popularity"]["mrr@3/u20"] = dict.fromkeys(("mean", "low", "high"), mean)
        write_json(run / "metrics.json", metrics)
    names = named(cells(section(page_of(*runs), "Results").split("</table>")[0]))
    assert names.count("popularity") == 1


def test_the_order_of_seeds_does_not_make_a_shared_test_another_one(tmp_path):
    runs = training_seeds(tmp_path / "a", 0.0, 0.1) + training_seeds(tmp_path / "b", 0.0, 0.1, training__loss="answer")
    told = [len(cells(section(page_of(*order), "Is it better?"))) for order in (runs, [*runs[:2], runs[3], runs[2]])]
    assert told[0] == told[1]


def test_a_copy_of_one_seed_leaves_the_others_together(tmp_path):
    runs = training_seeds(tmp_path, 0.0, 0.1, 0.2)
    copy = training_seeds(tmp_path / "copy", 0.0)[0]
    write_json(copy / "manifest.json", MANIFEST)
    page = page_of(*runs, copy)
    assert "here 7, 8, 9" in page
    names = named(cells(section(page, "Results").split("</table>")[0]))
    assert "trsr-recurrent · tmp/seed7 + 2 seeds".replace("tmp", tmp_path.name) in names


def test_a_setting_with_seeds_beside_a_run_with_other_cut_offs(tmp_path):
    runs = training_seeds(tmp_path, 0.0, 0.1)
    other = {model: {"recall@1/u20": interval(0.1), "mrr@1/u20": interval(0.1)} for model in METRICS}
    runs.append(write_run(tmp_path / "one", other, changed(SETTINGS, evaluation={"ks": [1]})))
    rows = cells(section(page_of(*runs), "Several seeds"))
    assert [row[3:6] for row in rows if row[0] == "trsr-recurrent"] == [[".375", ".106", ".300 to .450"]]


def test_seeds_with_other_users_are_pooled_by_user(tmp_path):
    """Of 20 and 5 users, those of both count with their mean, and every user once."""
    runs = training_seeds(tmp_path, 0.0, 0.2)
    values = pl.read_parquet(runs[1] / "per_user.parquet")
    few = values.filter(pl.col("user_id") < "u05").sample(fraction=1, shuffle=True, seed=5)
    few.write_parquet(runs[1] / "per_user.parquet")
    page = page_of(*runs)
    [test] = [row for row in cells(section(page, "Does the summary help?")) if row[0] == "trsr-recurrent"]
    # .05 for 15 users; for the five, of whom three have .25 and two .45, the mean with .05
    assert test[3].startswith(".085 [")
    assert "20 users" in section(page, "Is it better?")


@pytest.mark.parametrize("lacks", ["a model", "a metric", "a user", "the file"])
def test_seeds_that_do_not_tell_all_users_are_shown_run_by_run(tmp_path, lacks):
    runs = training_seeds(tmp_path, 0.0, 0.1)
    path = runs[1] / "per_user.parquet"
    values = pl.read_parquet(path)
    left = {
        "a model": values.filter(pl.col("model") != "popularity"),
        "a metric": values.drop("recall@3/u20"),
        "a user": values.filter((pl.col("model") != "popularity") | (pl.col("user_id") != "u03")),
    }
    path.unlink()
    if lacks in left:
        left[lacks].write_parquet(path)
    page = text(page_of(*runs))
    assert "do not all tell their users' values" in section(page, "Results")
    row = next(row for row in cells(section(page, "Results")) if row[0] == "trsr-recurrent")
    assert row[1] == ".375 [.300, .450]"
    assert {row[1] for row in cells(section(page, "Is it better?"))[1:]} == {"seed 7", "seed 8"}


def test_users_values_that_are_no_numbers_are_refused(tmp_path):
    [run] = training_seeds(tmp_path, 0.0)
    values = pl.read_parquet(run / "per_user.parquet")
    values.with_columns(pl.col("mrr@3/u20").cast(pl.String)).write_parquet(run / "per_user.parquet")
    with pytest.raises(DataError, match=r"per_user\.parquet: column mrr@3/u20 is String, not numbers; write this file"):
        page_of(run)


def test_settings_with_several_seeds_of_training_are_tested_by_the_means_of_users(tmp_path):
    runs = [
        with_users(run, gain)
        for loss, gains in (("listwise", (0.0, 0.1)), ("answer", (0.1, 0.2)))
        for seed, gain in zip((7, 8), gains, strict=True)
        for run in [
            write_run(tmp_path / f"{loss}{seed}", settings=changed(SETTINGS, training__loss=loss, training__seed=seed))
        ]
    ]
    page = page_of(*runs)
    assert "differ in the seed only, here 7, 8." in page
    [row] = [row for row in cells(section(page, "What the settings do")) if "mrr@3/u20" in row]
    assert row[:2] == ["trsr-recurrent · loss answer", "trsr-recurrent · loss listwise"]
    assert row[3] == ".150 [.125, .175]"
