"""The report of one run: what stands on the page, that it is true to the files, and that no text of data acts on it."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from evaluation.run_folders import (
    CHECKS,
    CHOICE,
    COMPARISON,
    EVIL,
    MANIFEST,
    METRICS,
    SEGMENTS,
    SETTINGS,
    STORY,
    TRAINING,
    changed,
    fill_run,
    interval,
    write_json,
    write_run,
)
from trsr.errors import ConfigError, DataError
from trsr.evaluation.charts import axis_over, loss_curves, recall_curves
from trsr.evaluation.report import write_report
from trsr.evaluation.result_sections import headline
from trsr.evaluation.run_files import Story, TrainingLog, read_run
from trsr.evaluation.run_groups import group_runs
from trsr.evaluation.tales import tale_steps, tell
from trsr.evaluation.word_diff import added_words


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "bookshop")


@pytest.fixture
def full_run(run):
    return fill_run(run)


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]+)</h2>", page)


def section(page, title):
    """What stands from a heading to the next."""
    return re.split(r"<h2[^>]*>", page.split(f">{title}</h2>")[1])[0]


def cells(table):
    """Rows of the tables in a piece of a page, without markup."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)
    return [
        [re.sub(r"<small>|<[^>]+>", " ", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def svgs(page):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def test_a_report_needs_no_more_than_metrics_and_manifest(run):
    (run / "config.yaml").unlink()
    write_json(run / "manifest.json", {"tokens": {"read": 1234567}, "half": 12.3456789})
    page = write_report(run).read_text()
    assert headings(page) == ["Results", "How it was made"]
    for text in (".538", "[.507, .570]", "1,234,567", "12.3457"):
        assert text in page
    assert sorted(path.name for path in run.iterdir()) == ["manifest.json", "metrics.json", "report.html"]


def test_every_file_adds_its_section(full_run):
    page = write_report(full_run).read_text()
    assert headings(page) == [
        "Results",
        "Is it better?",
        "For whom",
        "Quality against cost",
        "Training",
        "Baselines",
        "Users’ stories",
        "Checks",
        "How it was made",
    ]
    for text in (".151 untuned", ".512 at step 500", "<ins>nature writing.</ins>", ".931", "chosen"):
        assert text in page


def test_the_table_has_chance_first_then_the_best_and_one_bold_cell_a_column(run):
    write_json(
        run / "metrics.json",
        METRICS | {"oracle": {name: {"mean": 0.9, "low": 0.9, "high": 0.9} for name in METRICS["chance"]}},
    )
    page = write_report(run).read_text()
    table = section(page, "Results").split("</table>")[0]
    assert [row[0] for row in cells(table)] == ["model", "chance", "oracle", "trsr-recurrent", "popularity"]
    assert cells(table)[3][1:] == [".538 [.507, .570]", ".394 [.363, .426]"]
    assert re.findall(r'class="best">([^<]+)<', table) == [".538", ".394"]
    assert "trsr-recurrent ranks best" in page


def test_comparisons_stand_under_the_results_with_their_power(full_run):
    uncertain = COMPARISON | {"metric": "mrr@3/u20", "p_holm": 0.3, "difference": -0.05, "smallest_detectable": None}
    write_json(full_run / "comparisons.json", [uncertain, COMPARISON, COMPARISON | {"metric": "hit@3/u20"}])
    table = section(write_report(full_run).read_text(), "Is it better?")
    assert [row[1:] for row in cells(table)[1:]] == [
        ["popularity", "recall@3/u20", ".172 [.081, .263]", "&lt; .001", ".123"],
        ["popularity", "mrr@3/u20", "-.050 [.081, .263]", ".300", "–"],
    ]
    assert table.count('class="best"') == 1
    assert "1,080 users" in table


RECENT = METRICS | {"trsr-recent": METRICS["popularity"]}
HELPS = COMPARISON | {"metric": "mrr@3/u20", "model": "trsr-recurrent", "against": "trsr-recent"}


def test_the_report_says_whether_the_summary_helps_by_how_much_and_at_what_cost(full_run):
    write_json(full_run / "metrics.json", RECENT | {"trsr-none": METRICS["popularity"]})
    others = [HELPS | {"against": "popularity"}, HELPS | {"metric": "recall@3/u20"}, HELPS | {"model": "trsr-mix"}]
    others += [HELPS | {"model": "trsr-extractive"}]  # of which metrics.json knows nothing
    write_json(full_run / "comparisons.json", [*others, HELPS | {"against": "trsr-none", "p_holm": 0.3}, HELPS])
    scoring = MANIFEST["scoring"] | {"trsr-recent": {"prompts": 20, "prefix_tokens": 5000, "suffix_tokens": 16000}}
    seconds = MANIFEST["seconds"] | {"score trsr-recent": 0.0}
    write_json(full_run / "manifest.json", MANIFEST | {"scoring": scoring, "seconds": seconds})
    part = section(write_report(full_run).read_text(), "Does the summary help?")
    assert (
        "trsr-recurrent stands highest of the rankers with a summary that were tested. trsr-recurrent is ahead of "
        "trsr-recent by .172 [.081, .263] in mrr@3/u20, p &lt; .001 after Holm; a single test of 1,080 users could "
        "have seen .123. trsr-recurrent takes 1,100 tokens where trsr-recent takes 1,050, and 2.8 seconds where "
        "trsr-recent takes &lt; 0.005."
    ) in part
    difference = ".172 [.081, .263]"
    costs = ["1,100 / 1,050", "2.8 / &lt; 0.005"]  # of 20 test examples, 50 s of ranking and 30 s for 100 summaries
    assert cells(part) == [
        ["model", "against", "metric", "difference", "p", "could show", "tokens of both", "seconds of both"],
        ["trsr-recurrent", "trsr-none", "mrr@3/u20", difference, ".300", ".123", "1,100 / –", "2.8 / –"],
        ["trsr-recurrent", "trsr-recent", "mrr@3/u20", difference, "&lt; .001", ".123", *costs],
    ]


def test_the_best_summary_is_asked_about(full_run):
    better = {name: interval(value["mean"] + 0.1) for name, value in METRICS["trsr-recurrent"].items()}
    write_json(full_run / "metrics.json", RECENT | {"trsr-extractive": better})
    write_json(full_run / "comparisons.json", [HELPS, HELPS | {"model": "trsr-extractive"}])
    assert "trsr-extractive stands highest" in section(write_report(full_run).read_text(), "Does the summary help?")


def test_a_summary_that_was_compared_with_nothing_gets_no_answer(full_run):
    assert "Does the summary help?" not in write_report(full_run).read_text()


def test_summaries_cost_the_tokens_of_their_method(full_run):
    methods = {"recurrent": {"tokens_in": 2600, "tokens_out": 400}, "hierarchical": {"tokens_in": 7000}}
    write_json(full_run / "manifest.json", changed(MANIFEST, summaries__methods=methods))
    costs = cells(section(write_report(full_run).read_text(), "Quality against cost"))
    assert costs[1][0] == "trsr-recurrent"
    assert dict(zip(costs[0], costs[1], strict=True))["summary tokens"] == "30"


def test_cost_is_that_of_one_user(full_run):
    rows = {row[0]: row[1:] for row in cells(section(write_report(full_run).read_text(), "Quality against cost"))}
    assert rows["trsr-recurrent"] == [".538", ".394", "2.5", "1,000", "0.3", "100", "123"]
    assert rows["popularity"] == [".366", ".254", "&lt; 0.005", "–", "–", "–", "–"]


def test_a_mix_costs_what_its_models_cost(full_run):
    mixes = {"trsr-mix": ["popularity", "trsr-recurrent"], "blind": ["popularity", "untimed"]}
    write_json(full_run / "config.yaml", SETTINGS | {"mixes": mixes})
    write_json(full_run / "metrics.json", METRICS | {"trsr-mix": METRICS["popularity"], "blind": METRICS["popularity"]})
    rows = {row[0]: row[1:] for row in cells(section(write_report(full_run).read_text(), "Quality against cost"))}
    assert rows["trsr-mix"] == [
        ".366",
        ".254",
        "2.5",
        "1,000",
        "0.3",
        "100",
        "–",
    ]  # popularity does not tell its tuning
    assert "blind" not in rows


def test_calls_that_a_store_had_count_as_long_as_those_that_were_made(full_run):
    manifest = json.loads((full_run / "manifest.json").read_text())
    manifest["summaries"]["of_these_made_now"] = {"calls": 100, "tokens_in": 4500, "tokens_out": 500, "seconds": 60.0}
    write_json(full_run / "manifest.json", manifest)
    page = write_report(full_run).read_text()
    rows = {row[0]: row[1:] for row in cells(section(page, "Quality against cost"))}
    assert rows["trsr-recurrent"] == [".538", ".394", "2.5", "1,000", "1.2", "100", "123"]


@pytest.mark.parametrize("made", [{"calls": 99, "seconds": 60.0}, {"calls": 0, "seconds": 0.0}, {"calls": 200}])
def test_a_model_whose_summaries_took_nobody_knows_how_long_has_no_seconds_in_the_chart(full_run, made):
    manifest = json.loads((full_run / "manifest.json").read_text())
    manifest["summaries"]["of_these_made_now"] = made
    write_json(full_run / "manifest.json", manifest)
    page = write_report(full_run).read_text()
    rows = {row[0]: row[1:] for row in cells(section(page, "Quality against cost"))}
    assert rows["trsr-recurrent"] == [".538", ".394", "2.5", "1,000", "100", "123"]
    assert not [svg for svg in svgs(page) if "against seconds" in svg.findtext("title")]


def test_a_cost_chart_stands_where_quality_and_cost_are(full_run):
    page = write_report(full_run).read_text()
    [chart] = [svg for svg in svgs(page) if "against seconds" in svg.findtext("title")]
    ticks = {text.text: float(text.get("x")) for text in chart.iter("text") if text.get("class") == "tick"}
    decade = (ticks["10"] - ticks["0.001"]) / 4
    recurrent, popularity = (float(dot.get("cx")) for dot in chart.iter("circle"))
    assert recurrent == pytest.approx(ticks["1"] + decade * 0.44716, abs=0.1)
    assert popularity == pytest.approx(ticks["0.001"] + decade * 0.39794, abs=0.1)


def test_segments_tell_for_whom_and_one_bucket_alone_tells_nothing(full_run):
    page = write_report(full_run).read_text()
    part = section(page, "For whom")
    assert cells(part) == [
        ["model", "0", "1-4"],
        ["test examples", "5", "15"],
        ["chance", ".143 [.112, .174]", ".143 [.112, .174]"],
        ["trsr-recurrent", ".610 [.579, .641]", ".520 [.489, .551]"],
        ["popularity", ".300 [.269, .331]", ".300 [.269, .331]"],
    ]
    assert [svg.findtext("title") for svg in svgs(part)] == ["recall@3/u20 by item popularity"]
    described = svgs(part)[0].findtext("desc")
    assert "trsr-recurrent: 0: .610 [.579, .641]; 1-4: .520" in described
    assert "All test examples are in one part by history length, 1-4 (events of the user before the target)." in part


def test_the_best_baseline_is_charted_where_a_mix_is_better(full_run):
    high = {f"trsr-{i}": interval(0.9) for i in range(9)} | {"mix": interval(0.9)}
    both = {model: {"recall@3/u20": value, "mrr@3/u20": value} for model, value in high.items()}
    write_json(full_run / "metrics.json", METRICS | both)
    parts = {name: part | {"metrics": part["metrics"] | both} for name, part in SEGMENTS.items()}
    write_json(full_run / "segments.json", parts)
    write_json(full_run / "config.yaml", SETTINGS | {"mixes": {"mix": ["popularity", "als"]}})
    described = svgs(section(write_report(full_run).read_text(), "For whom"))[0].findtext("desc")
    assert "popularity: 0: " in described


def test_one_part_alone_is_told_without_a_chart(full_run):
    write_json(full_run / "segments.json", {"user/new": SEGMENTS["history/1-4"] | {"group": "user", "bucket": "new"}})
    part = section(write_report(full_run).read_text(), "For whom")
    assert "All test examples are in one part by known users, new (training events of the user)." in part
    assert not svgs(part)


def test_what_is_asked_about_is_charted_wherever_it_stands(full_run):
    better = {f"mix-{i}": {"recall@3/u20": interval(0.9), "mrr@3/u20": interval(0.8)} for i in range(9)}
    write_json(full_run / "metrics.json", METRICS | better | {"trsr-recent": METRICS["popularity"]})
    parts = {name: part | {"metrics": part["metrics"] | {"trsr-recent": part["metrics"]["popularity"]} | {
        model: {"recall@3/u20": interval(0.9)} for model in better
    }} for name, part in SEGMENTS.items()}  # fmt: skip
    write_json(full_run / "segments.json", parts)
    described = svgs(section(write_report(full_run).read_text(), "For whom"))[0].findtext("desc")
    charted = re.findall(r"([a-z0-9-]+): 0: ", described)
    assert {"chance", "mix-0", "trsr-recurrent", "trsr-recent"} < set(charted)
    assert len(charted) == 6


def test_a_new_kind_of_segment_is_shown_under_its_own_name(full_run):
    extra = {f"age/{i}": SEGMENTS["popularity/0"] | {"group": "age", "bucket": str(i)} for i in range(2)}
    write_json(full_run / "segments.json", extra)
    assert "recall@3/u20 by age" in write_report(full_run).read_text()


def test_a_win_says_who_put_the_target_where(full_run):
    page = section(write_report(full_run).read_text(), "Users’ stories")
    assert "User winner, a win: recurrent summary, ranked by trsr-recurrent" in page
    assert "trsr-recurrent put it at place 2, popularity at 9.5." in page
    assert len(re.findall(r'<details class="story" open>', page)) == 1


def test_how_it_was_made_names_command_version_device_and_seed(full_run):
    page = section(write_report(full_run).read_text(), "How it was made")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["run again"] == f"trsr run {full_run}/config.yaml --out NEW"
    moved = full_run.rename(full_run.parent / "my $shop")
    assert f"trsr run &#39;{moved}/config.yaml&#39; --out NEW" in write_report(moved).read_text()
    assert (facts["seed"], facts["trsr"], facts["threads"]) == ("7", "0.1.0", "2")
    assert facts["device"].startswith("cpu ")
    assert facts["wall time"] == "3.1 min"
    assert facts["data"] == "bookshop, 300 users, 4,000 events, 1,234,567 items"


def test_what_tuning_chose_for_baselines(full_run):
    rows = cells(section(write_report(full_run).read_text(), "Baselines"))
    assert rows[1] == ["popularity", "2", "days 30", ".412", "–", "6"]


@pytest.mark.parametrize(
    ("tried", "at_edge"),
    [([7, 30, 90], "–"), ([7, 14, 30], "days"), ([30, 90, 120], "days"), ([7, 30, None], "–"), ([30, "a", "b"], "–")],
)
def test_a_choice_at_the_edge_of_what_was_tried_is_marked(full_run, tried, at_edge):
    attempts = [{"settings": {"days": days}, "seconds": 1.0} for days in tried]
    write_json(full_run / "baselines" / "popularity.json", CHOICE | {"tried": attempts})
    assert cells(section(write_report(full_run).read_text(), "Baselines"))[1][4] == at_edge


def test_text_from_data_cannot_become_markup(full_run):
    page = write_report(full_run).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert EVIL not in page


@pytest.mark.parametrize("place", ["model", "metric", "segment", "setting", "manifest key", "log"])
def test_names_from_files_cannot_become_markup(full_run, place):
    if place == "model":
        write_json(full_run / "metrics.json", METRICS | {f"x{EVIL}": METRICS["popularity"]})
    elif place == "metric":
        write_json(full_run / "metrics.json", {"m": {f"mrr@3/{EVIL}": METRICS["chance"]["mrr@3/u20"]}})
    elif place == "segment":
        two = {str(i): SEGMENTS["popularity/0"] | {"group": EVIL, "bucket": f"{i}{EVIL}"} for i in range(2)}
        write_json(full_run / "segments.json", two)
    elif place == "setting":
        (full_run / "config.yaml").write_text(f'"{EVIL}": "{EVIL}"')
    elif place == "manifest key":
        write_json(full_run / "manifest.json", {EVIL: {EVIL: [EVIL, {EVIL: EVIL}]}})
    else:
        write_json(full_run / "training" / "m&\"'.json", TRAINING)
    page = write_report(full_run).read_text()
    assert "<script" not in page
    svgs(page)


def test_the_page_loads_nothing_and_its_charts_are_named(full_run):
    page = write_report(full_run).read_text()
    assert not re.search(r"https?://|<link|@import|url\(|\bsrc=|href=|<img|<iframe|srcset|<script", page)
    assert [chart.findtext("title") for chart in svgs(page)] == [
        "recall@3/u20 per model with its bounds",
        "mrr@3/u20 per model with its bounds",
        "recall@3/u20 by item popularity",
        "mrr@3/u20 against seconds a user",
        "trsr-recurrent: validation recall over training steps",
        "trsr-recurrent: loss over training steps",
    ]
    for chart in svgs(page):
        assert chart.get("role") == "img"
        title, text = chart.get("aria-labelledby").split()
        assert [chart.find("title").get("id"), chart.find("desc").get("id")] == [title, text]
        assert chart.findtext("desc").strip()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^" ]+)"', page)) <= set(ids)


def test_every_table_of_data_has_a_caption_and_headers(full_run):
    page = write_report(full_run).read_text()
    tables = re.findall(r'<table class="(?:numbers|words)">.*?</table>', page, flags=re.DOTALL)
    assert len(tables) == 7
    for table in tables:
        assert re.search(r"<caption>[^<]+</caption>", table)
        assert '<th scope="col">' in table
        body = table.split("<tbody>")[1]
        assert body.count("<tr>") == body.count('<th scope="row"') > 0


def test_whiskers_stand_where_the_interval_is(run):
    chart = svgs(write_report(run).read_text())[0]
    ticks = {float(t.text): float(t.get("x")) for t in chart.iter("text") if t.get("class") == "tick"}
    zero, scale = ticks[0.0], (ticks[0.2] - ticks[0.0]) / 0.2
    dots = [(float(dot.get("cx")) - zero) / scale for dot in chart.iter("circle")]
    assert dots == pytest.approx([0.1429, 0.5383, 0.3661], abs=1e-3)


def test_a_failed_report_leaves_the_old_one(run):
    before = write_report(run).read_text()
    (run / "checks.json").write_text("[")
    with pytest.raises(DataError):
        write_report(run)
    assert (run / "report.html").read_text() == before


def test_the_page_is_no_markdown_file(run, tmp_path):
    with pytest.raises(ConfigError, match=r"^report: .*page\.md is to be the HTML page; for Markdown give --markdown "):
        write_report(run, out=tmp_path / "page.md")


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("metrics.json", None, r"bookshop: not finished, it has no metrics\.json yet; continue it with `trsr run`$"),
        ("metrics.json", "{}", r"metrics\.json: no metrics in it; evaluate the run again$"),
        ("metrics.json", '{"a": {"auc": {"mean": 1}}}', r"metrics\.json: a\.auc\.low: Field required; write this"),
        ("manifest.json", "[1]", r"manifest\.json: .*; write this file again with `trsr run`$"),
        ("manifest.json", None, r"manifest\.json: no such file; a report needs a folder made by `trsr run`$"),
        ("config.yaml", "a: [", r"config\.yaml: not readable as YAML: "),
        (
            "comparisons.json",
            '[{"metric": "auc"}]',
            r"comparisons\.json: 0\.model: Field required; write this file again",
        ),
        ("segments.json", '{"a": {"group": "a"}}', r"segments\.json: a\.bucket: Field required; write this file again"),
        ("stories.json", '[{"user_id": "u"}]', r"stories\.json: 0\.target: Field required; write this file again"),
        ("training/m.json", "7", r"training/m\.json: .*; write this file again with `trsr run`$"),
        ("baselines/b.json", '{"tried": 3}', r"baselines/b\.json: tried: .*; write this file again with `trsr run`$"),
        (
            "summaries.parquet",
            "text",
            r"summaries\.parquet: not a Parquet file \(it starts with 'text'\); convert it to Parquet$",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(full_run, file, content, sentence):
    (full_run / file).unlink(missing_ok=True)
    if content is not None:
        (full_run / file).write_text(content)
    with pytest.raises((DataError, ConfigError), match=sentence) as refusal:
        write_report(full_run)
    assert "\n" not in str(refusal.value)


def told(run, metrics):
    write_json(run / "metrics.json", metrics)
    [group] = group_runs([read_run(run)])
    return headline(group)


def test_headline_names_the_best_model_beside_chance_and_popularity(run):
    assert told(run, METRICS) == (
        "trsr-recurrent ranks best: mrr@3 .394 [.363, .426] over 20 uniform negatives, "
        "beside chance .087 and popularity .254."
    )


def test_headline_does_not_hide_that_popularity_won(run):
    swapped = METRICS | {"popularity": METRICS["trsr-recurrent"], "trsr-recurrent": METRICS["popularity"]}
    assert told(run, swapped).startswith("popularity ranks best: mrr@3 .394")
    assert told(run, swapped).endswith("beside chance .087.")


def test_headline_without_models_and_with_the_oracle_alone(run):
    assert told(run, {"chance": METRICS["chance"]}) == "No model beside chance was evaluated."
    assert told(run, {"chance": METRICS["chance"], "oracle": METRICS["popularity"]}).startswith("No model")


def test_new_words_are_marked_and_the_text_stays_whole():
    before, after = "Likes: sea stories.\nAvoids: war.", "Likes: sea stories, maps.\nAvoids: romance and war."
    segments = added_words(before, after)
    assert "".join(text for text, _ in segments) == after
    assert [text for text, new in segments if new] == ["maps.", "romance and"]


def test_block_summaries_of_a_hierarchy_are_no_rewriting():
    steps = tale_steps(Story.model_validate(STORY | {"method": "hierarchical", "steps": ["a", "b", "a b"]}))
    assert [(step.title, step.added) for step in steps] == [("Block 1", 0), ("Block 2", 0), ("Merged", 0)]


def test_a_final_summary_is_told_where_it_is_not_the_last_step():
    assert tell(Story.model_validate(STORY)).final == ""
    assert tell(Story.model_validate(STORY | {"steps": []})).final == STORY["summary"]


def test_curves_keep_step_zero_and_leave_out_what_diverged():
    log = TrainingLog.model_validate_json(json.dumps(TRAINING).replace("0.6", "NaN"))
    recall, loss = recall_curves({"m": log})[0], loss_curves({"m": log})[0]
    assert [dot.text for dot in recall.dots] == [".151 untuned", ".512 at step 500", ""]
    assert recall.dots[0].x == recall.x.start
    assert len(loss.dots) == 2
    assert len(loss.faint) == 200


def test_models_without_a_log_value_draw_no_curve(full_run):
    assert recall_curves({}) == []
    assert recall_curves({"m": TrainingLog()}) == []
    write_json(full_run / "training" / "trsr-recurrent.json", {})
    assert "Training" not in headings(write_report(full_run).read_text())


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.3, 0.3], [0.0, 0.0], [0.151, 0.512], [-3.0, 250.0]])
def test_axes_hold_their_values_and_have_a_few_round_ticks(values):
    axis = axis_over(values, 0, 100)
    assert all(-0.01 <= axis(value) <= 100.01 for value in values)
    assert 3 <= len(axis.ticks) <= 10


def test_numbers_that_are_none_do_not_break_the_page(full_run):
    write_json(full_run / "manifest.json", changed(MANIFEST, data=None, seconds=None, scoring=None, machine=None))
    write_json(full_run / "checks.json", CHECKS[:1])
    assert headings(write_report(full_run).read_text())[-1] == "How it was made"
