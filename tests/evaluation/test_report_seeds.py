"""The report of runs with several seeds: users' means over them, their tests, and the spread."""

import json

import polars as pl

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
    for run, difference in zip(runs, (-0.2, 0.3), strict=True):
        metrics = json.loads((run / "metrics.json").read_text()) | {"trsr-recent": METRICS["popularity"]}
        write_json(run / "metrics.json", metrics)
        test = {"metric": "mrr@3/u20", "model": "trsr-recurrent", "against": "trsr-recent", "difference": difference}
        write_json(run / "comparisons.json", [COMPARISON | test])
    part = section(page_of(*runs), "Does the summary help?")
    assert "Over 2 seeds it differs from trsr-recent by .190 in mrr@3/u20 on average, .140 to .240." in part
    assert "and not for the number of runs" in part


def training_seeds(folder, *gains, **changes):
    """Runs on the same candidates with a recurrent ranker that gains over one on recent items, by the seed."""
    runs = []
    for seed, gain in enumerate(gains, 7):
        settings = changed(SETTINGS, methods=["recent", "recurrent"], training__seed=seed, **changes)
        manifest = MANIFEST | {"inputs": {"popularity": "the same"}}
        run = with_users(write_run(folder / f"seed{seed}", settings=settings, manifest=manifest), gain)
        values = pl.read_parquet(run / "per_user.parquet")
        recent = values.filter(pl.col("model") == "popularity").with_columns(model=pl.lit("trsr-recent"))
        pl.concat([values, recent]).write_parquet(run / "per_user.parquet")
        metrics = json.loads((run / "metrics.json").read_text())
        for model, mean in (("trsr-recurrent", 0.3 + 1.5 * gain), ("trsr-recent", 0.25)):
            metrics[model] = {"recall@3/u20": interval(mean), "mrr@3/u20": interval(mean)}
        write_json(run / "metrics.json", metrics)
        runs.append(run)
    return runs


def test_over_seeds_of_training_users_means_are_shown_and_tested(tmp_path):
    page = page_of(*training_seeds(tmp_path, 0.0, 0.1, 0.2))
    row = next(row for row in cells(section(page, "Results")) if row[0] == "trsr-recurrent")
    assert row[1] == ".450 [.425, .475]"  # half of the users have .4, half .5
    assert "a user's value is the mean over them" in section(page, "Results").replace("&#39;", "'")
    [test] = [row for row in cells(section(page, "Does the summary help?")) if row[0] == "trsr-recurrent"]
    assert test[1:4] == ["trsr-recent", "mrr@3/u20", ".200 [.175, .225]"]
    told = section(page, "Does the summary help?")
    assert "Over 3 seeds, trsr-recurrent is ahead of trsr-recent by .200 [.175, .225] in mrr@3/u20" in told
    assert "From seed to seed the difference is .050 to .350." in told
    assert [row[2] for row in cells(section(page, "Runs"))[1:]] == ["7", "8", "9"]


def test_seeds_of_one_setting_beside_other_settings_leave_chance_one_row(tmp_path):
    runs = training_seeds(tmp_path / "seeds", 0.0, 0.1)
    rates = (0.1, 0.2, 0.3)
    runs += [run for r in rates for run in training_seeds(tmp_path / f"{r}", 0.3, training__learning_rate=r)]
    for run in runs:
        write_json(run / "segments.json", SEGMENTS)
    page = page_of(*runs)
    names = [row[0] for row in cells(section(page, "Results").split("</table>")[0])]
    assert names.count("chance") == 1
    assert "popularity" in names
    assert "trsr-recurrent · learning_rate 0.001" in names
    [chart] = svgs(section(page, "For whom"))
    assert [text.text for text in chart.iter("text")].count("chance") == 1


def test_seeds_whose_users_are_others_are_pooled_by_user(tmp_path):
    runs = training_seeds(tmp_path, 0.0, 0.1)
    values = pl.read_parquet(runs[1] / "per_user.parquet")
    others = pl.col("user_id").str.replace("u", "v")
    values.with_columns(others).write_parquet(runs[1] / "per_user.parquet")
    page = page_of(*runs)
    [test] = [row for row in cells(section(page, "Does the summary help?")) if row[0] == "trsr-recurrent"]
    assert test[3].startswith(".125 [")
    assert "40 users" in section(page, "Is it better?")
    values.filter(pl.col("model") != "popularity").write_parquet(runs[1] / "per_user.parquet")
    assert "whose users' values are not known" in page_of(*runs).replace("&#39;", "'")


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
