import json
import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from trsr.errors import DataError
from trsr.evaluation.charts import axis_over, loss_curves, recall_curves
from trsr.evaluation.report import headline, story_steps, write_report
from trsr.evaluation.run_files import Story, TrainingLog
from trsr.evaluation.word_diff import added_words

EVIL = "<script>alert(1)</script>"


def interval(mean):
    return {"mean": mean, "low": mean - 0.0312, "high": mean + 0.0312}


METRICS = {
    "chance": {"recall@3/u20": interval(0.1429), "mrr@3/u20": interval(0.0873)},
    "popularity": {"recall@3/u20": interval(0.3661), "mrr@3/u20": interval(0.2542)},
    "recurrent": {"recall@3/u20": interval(0.5383), "mrr@3/u20": interval(0.3944)},
}
STORY = {
    "user_id": f"reader {EVIL}",
    "target": f"The Ledger {EVIL}",
    "model": "recurrent",
    "method": "recurrent",
    "blocks": [[f"Glass Harbour {EVIL}"], ["Salt and Iron"]],
    "steps": ["Likes sea mysteries.", "Likes sea mysteries, nature writing."],
    "summary": "Likes sea mysteries, nature writing.",
    "recent": ["Winter Field Guide"],
    "ranked": [
        {"item_id": "i1", "text": f"Tides {EVIL}", "probability": 0.931, "label": 0},
        {"item_id": "i2", "text": "The Ledger", "probability": 0.882, "label": 1},
    ],
}
TRAINING = {
    "steps": [{"step": i, "loss": 1 / i} for i in range(1, 1001)],
    "evaluations": [
        {"step": 0, "valid_loss": 0.9, "valid_recall": 0.151},
        {"step": 500, "valid_loss": 0.5, "valid_recall": 0.512},
        {"step": 1000, "valid_loss": 0.6, "valid_recall": 0.48},
    ],
    "best_step": 500,
}
COMPARISON = {
    "metric": "recall@3/u20",
    "model": f"trsr-recurrent {EVIL}",
    "against": "popularity",
    "difference": 0.1722,
    "low": 0.0811,
    "high": 0.2633,
    "p": 0.0004,
    "p_holm": 0.0008,
    "smallest_detectable": 0.1234,
    "users": 1080,
}
CHECKS = [{"check": "target in prompts", "result": "ok", "detail": f"0 of 12 {EVIL}"}]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "bookshop"
    folder.mkdir()
    write_json(folder / "metrics.json", METRICS)
    write_json(
        folder / "manifest.json",
        {"versions": {"trsr": "0.1.0"}, "tokens": {"read": 1234567}, "seconds": 12.3456789, "note": EVIL},
    )
    (folder / "config.yaml").write_text(f"name: bookshop # {EVIL}\n")
    return folder


@pytest.fixture
def full_run(run):
    (run / "training").mkdir()
    write_json(run / "training" / "recurrent.json", TRAINING)
    write_json(run / "stories.json", [STORY])
    write_json(run / "checks.json", CHECKS)
    pl.DataFrame({"user_id": ["u"], "summary": ["s"]}).write_parquet(run / "summaries.parquet")
    return run


def write_json(path, value):
    path.write_text(json.dumps(value))


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]+)</h2>", page)


def test_a_report_needs_no_more_than_metrics_manifest_and_settings(run):
    page = write_report(run).read_text()
    assert headings(page) == ["Results", "How it was made"]
    assert ".538" in page
    assert "[.507, .570]" in page
    assert "1,234,567" in page
    assert "12.3457" in page
    assert sorted(path.name for path in run.iterdir()) == [
        "config.yaml",
        "manifest.json",
        "metrics.json",
        "report.html",
    ]


def test_every_optional_file_adds_its_section(full_run):
    page = write_report(full_run).read_text()
    assert headings(page) == ["Results", "Training", "One reader’s story", "Checks", "How it was made"]
    for text in (".151 untuned", ".512 at step 500", "<ins>nature writing.</ins>", ".931", "chosen", "1 rows; columns"):
        assert text in page


def test_comparisons_stand_under_the_results_with_their_power(full_run):
    uncertain = COMPARISON | {"metric": "mrr@3/u20", "p_holm": 0.3, "difference": -0.05, "smallest_detectable": None}
    write_json(full_run / "comparisons.json", [uncertain, COMPARISON, COMPARISON | {"metric": "hit@3/u20"}])
    page = write_report(full_run).read_text()
    assert headings(page)[:3] == ["Results", "Is it better?", "Training"]
    table = page.split('id="better"')[1].split("</table>")[0]
    assert "<script" not in table
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", table)]
    assert rows == [
        ["popularity", "recall@3/u20", ".172<small>[.081, .263]</small>", "&lt; .001", ".123"],
        ["popularity", "mrr@3/u20", "-.050<small>[.081, .263]</small>", ".300", "–"],
    ]
    assert table.count('class="best"') == 1
    assert "1,080 users could show" in table


def test_text_from_data_cannot_become_markup(full_run):
    page = write_report(full_run).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7


def test_the_page_loads_nothing_and_its_charts_are_named(full_run):
    page = write_report(full_run).read_text()
    assert not re.search(r"https?://|<link|@import|url\(|\bsrc=", page)
    charts = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]
    assert [chart.findtext("title") for chart in charts] == [
        "recall@3/u20 per model with 95 % intervals",
        "mrr@3/u20 per model with 95 % intervals",
        "recurrent: validation recall over training steps",
        "recurrent: loss over training steps",
    ]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_whiskers_stand_where_the_interval_is(run):
    page = write_report(run).read_text()
    chart = ET.fromstring(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)[0])
    ticks = {float(t.text): float(t.get("x")) for t in chart.iter("text") if t.get("class") == "tick"}
    zero, scale = ticks[0.0], (ticks[0.2] - ticks[0.0]) / 0.2
    dots = [(float(dot.get("cx")) - zero) / scale for dot in chart.iter("circle")]
    assert dots == pytest.approx([0.1429, 0.3661, 0.5383], abs=1e-3)


def test_a_failed_report_leaves_the_old_one(run):
    before = write_report(run).read_text()
    (run / "checks.json").write_text("[")
    with pytest.raises(DataError):
        write_report(run)
    assert (run / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("metrics.json", None, r"metrics\.json: no such file; a report needs a folder made by `trsr run`$"),
        ("metrics.json", "{}", r"metrics\.json: no metrics in it; evaluate the run again$"),
        ("metrics.json", '{"a": {"auc": {"mean": 1}}}', r"metrics\.json: a\.auc\.low: Field required; write this"),
        ("manifest.json", "[1]", r"manifest\.json: .*; write this file again with `trsr run`$"),
        ("config.yaml", None, r"config\.yaml: no such file"),
        (
            "comparisons.json",
            '[{"metric": "auc"}]',
            r"comparisons\.json: 0\.model: Field required; write this file again",
        ),
        ("stories.json", '[{"user_id": "u"}]', r"stories\.json: 0\.target: Field required; write this file again"),
        (
            "summaries.parquet",
            "text",
            r"summaries\.parquet: not a Parquet file \(it starts with 'text'\); convert it to Parquet$",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(run, file, content, sentence):
    (run / file).unlink(missing_ok=True)
    if content is not None:
        (run / file).write_text(content)
    with pytest.raises(DataError, match=sentence) as refusal:
        write_report(run)
    assert "\n" not in str(refusal.value)


def test_headline_names_the_best_model_beside_chance_and_popularity():
    assert headline(METRICS) == (
        "recurrent ranks best: mrr@3 .394 [.363, .426] over 20 uniform negatives, "
        "beside chance .087 and popularity .254."
    )


def test_headline_does_not_hide_that_popularity_won():
    swapped = METRICS | {"popularity": METRICS["recurrent"], "recurrent": METRICS["popularity"]}
    assert headline(swapped).startswith("popularity ranks best: mrr@3 .394")
    assert headline(swapped).endswith("beside chance .087.")


def test_headline_without_models():
    assert headline({"chance": METRICS["chance"]}) == "No model beside chance was evaluated."


def test_new_words_are_marked_and_the_text_stays_whole():
    before, after = "Likes: sea stories.\nAvoids: war.", "Likes: sea stories, maps.\nAvoids: romance and war."
    segments = added_words(before, after)
    assert "".join(text for text, _ in segments) == after
    assert [text for text, new in segments if new] == ["maps.", "romance and"]


def test_block_summaries_of_a_hierarchy_are_no_rewriting():
    steps = story_steps(Story.model_validate(STORY | {"method": "hierarchical", "steps": ["a", "b", "a b"]}))
    assert [(step.title, step.added) for step in steps] == [("Block 1", 0), ("Block 2", 0), ("Merged", 0)]


def test_curves_keep_step_zero_and_leave_out_what_diverged():
    log = TrainingLog.model_validate_json(json.dumps(TRAINING).replace("0.6", "NaN"))
    recall, loss = recall_curves({"m": log})[0], loss_curves({"m": log})[0]
    assert [dot.text for dot in recall.dots] == [".151 untuned", ".512 at step 500", ""]
    assert recall.dots[0].x == recall.x.start
    assert len(loss.dots) == 2
    assert len(loss.faint) == 200


def test_models_without_a_log_value_draw_no_curve():
    assert recall_curves({}) == []
    assert recall_curves({"m": TrainingLog()}) == []


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.3, 0.3], [0.0, 0.0], [0.151, 0.512], [-3.0, 250.0]])
def test_axes_hold_their_values_and_have_a_few_round_ticks(values):
    axis = axis_over(values, 0, 100)
    assert all(-0.01 <= axis(value) <= 100.01 for value in values)
    assert 3 <= len(axis.ticks) <= 10
