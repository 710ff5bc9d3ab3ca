"""Every command as a user types it: what it prints, what it leaves on disk, how it ends."""

import json
import subprocess
import sys

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from experiment.tiny_shop import NEGATIVES, TESTS, make_base, make_shop, write_config
from trsr.llm.local import LocalGenerator

METHODS = ["none", "recurrent"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    base, shop = make_base(folder / "base"), make_shop(folder / "shop")
    write_config(folder / "config.yaml", base, shop, methods=METHODS)
    return folder


@pytest.fixture(scope="module")
def run(world):
    """A run by the program itself, in a process of its own."""
    command = [sys.executable, "-m", "trsr.cli.app", "run", "config.yaml", "--out", "run", "--json"]
    process = subprocess.run(command, cwd=world, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (world / "printed.json").write_text(process.stdout, encoding="utf-8")
    return world / "run"


def test_help_loads_no_heavy_library():
    """It is what keeps `trsr --help` fast."""
    code = (
        "import sys, trsr.cli.app\n"
        "heavy = {'torch', 'transformers', 'peft', 'polars', 'numpy', 'sqlalchemy', 'jinja2', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_help_names_every_command(trsr):
    outcome = trsr("--help")
    assert outcome.code == 0
    commands = "demo run data summarize train rank export bench evaluate report doctor"
    for command in commands.split():
        assert f" {command} " in outcome.out


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["run", "a", "--nonsense"], ["demo", "too", "many"]])
def test_wrong_usage_ends_with_2(trsr, arguments):
    outcome = trsr(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


def test_a_bug_ends_with_1_and_its_traceback(trsr, monkeypatch):
    monkeypatch.setattr("trsr.experiment.data_check.survey_folder", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # Python ends with 1 and shows the traceback
        trsr("data", "check", "somewhere")


def test_ctrl_c_ends_with_130_and_says_that_the_work_is_kept(trsr, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("trsr.experiment.data_check.survey_folder", interrupted)
    outcome = trsr("data", "check", "somewhere")
    assert outcome.code == 130
    assert outcome.complaint == "stopped; what a run or a store has kept is not done again"


def test_synth_and_check_agree_on_what_is_there(trsr, tmp_path):
    made = json.loads(trsr("data", "synth", tmp_path / "shop", "--books", 50, "--readers", 10, "--json").out)
    assert (made["books"], made["readers"]) == (50, 10)
    found = json.loads(trsr("data", "check", tmp_path / "shop", "--json").out)
    assert (found["items"], found["users"], found["events"]) == (50, 10, made["events"])
    assert found["attributes"] == ["title", "author", "subjects", "description"]
    text = trsr("data", "check", tmp_path / "shop")
    assert text.out.splitlines()[0] == f"10 users, {made['events']} events, 50 items; ordered by time"
    assert "split by real time is possible" in text.out
    again = trsr("data", "synth", tmp_path / "again", "--books", 50, "--readers", 10)
    assert again.out == f"50 books, 10 readers, {made['events']} events in {tmp_path / 'again'}\n"
    for name in ("items", "interactions", "item_truth", "reader_truth"):
        assert (tmp_path / "again" / f"{name}.parquet").read_bytes() == (
            tmp_path / "shop" / f"{name}.parquet"
        ).read_bytes()


def test_run_prints_one_json_document_and_nothing_else(world, run):
    printed = json.loads((world / "printed.json").read_text(encoding="utf-8"))
    assert printed["metrics"] == json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert printed["checks"] == json.loads((run / "checks.json").read_text(encoding="utf-8"))
    drawn = [story["method"] for story in printed["stories"] if story["kind"] == "drawn"]
    assert drawn == ["recurrent", "none"]
    assert printed["report"] == "run/report.html"


def test_run_again_shows_the_table_a_story_and_the_report(trsr, world, run):
    outcome = trsr("run", world / "config.yaml", "--out", run)
    assert outcome.code == 0
    for name in ("chance", "popularity", "oracle", "untuned", "trsr-none", "trsr-recurrent"):
        assert name in outcome.out
    assert "<- chosen next" in outcome.out
    assert "block 1:" in outcome.out
    assert outcome.out.endswith(f"report: {run / 'report.html'}\n")


def test_without_out_a_run_goes_to_runs_name(trsr, world, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("trsr.experiment.run.train_one", lambda *arguments: asked.append(arguments) or (1, {}))
    monkeypatch.chdir(tmp_path)
    trsr("train", world / "config.yaml", "--method", "none", "--json")
    assert [str(out) for _, _, out in asked] == ["runs/tiny"]


def test_evaluate_gives_the_metrics_of_the_run_and_chance_for_constant_scores(trsr, run, tmp_path):
    candidates = pl.read_parquet(run / "candidates.parquet")
    constant = tmp_path / "constant.parquet"
    candidates.select("example_id", "item_id", score=pl.lit(0.25)).write_parquet(constant)
    files = [constant, run / "scores" / "trsr-none.parquet"]
    outcome = trsr("evaluate", run / "candidates.parquet", *files, "--k", 3, "--k", 5, "--json")
    metrics = json.loads(outcome.out)
    assert metrics["constant"] == metrics["chance"]
    assert metrics["chance"][f"recall@3/u{NEGATIVES}"]["mean"] == 3 / (NEGATIVES + 1)
    of_run = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["trsr-none"]
    assert {name: value["mean"] for name, value in metrics["trsr-none"].items()} == {
        name: value["mean"] for name, value in of_run.items()
    }
    table = trsr("evaluate", run / "candidates.parquet", constant)
    assert "chance" in table.out
    assert "constant" in table.out


def test_evaluate_refuses_two_files_of_one_name(trsr, run, tmp_path):
    scores = run / "scores" / "untuned.parquet"
    (tmp_path / "untuned.parquet").write_bytes(scores.read_bytes())
    outcome = trsr("evaluate", run / "candidates.parquet", scores, tmp_path / "untuned.parquet")
    assert outcome.code == 2
    assert outcome.complaint == "evaluate: two scores files share a name among untuned, untuned; rename one"


def test_report_is_written_again_from_the_files(trsr, run):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    outcome = trsr("report", run, "--json")
    assert json.loads(outcome.out) == {"report": str(run / "report.html")}
    assert (run / "report.html").read_bytes() == before


def test_report_puts_runs_side_by_side_and_writes_markdown_too(trsr, run, tmp_path):
    page, text = tmp_path / "both.html", tmp_path / "both.md"
    outcome = trsr("report", run, tmp_path / "nowhere", "--out", page, "--markdown", text, "--json")
    assert json.loads(outcome.out) == {"report": str(page), "markdown": str(text)}
    for path in (page, text):
        assert "no such file; a report needs a folder made by" in path.read_text(encoding="utf-8")
    assert trsr("report", run, "--out", text).code == 2


def test_train_finds_the_ranker_of_the_run_and_trains_nothing_again(trsr, world, run, monkeypatch):
    monkeypatch.setattr("trsr.ranking.training._Loop._step", lambda *_: 1 / 0)
    outcome = trsr("train", world / "config.yaml", "--method", "none", "--out", run, "--json")
    log = json.loads(outcome.out)
    assert log["model"] == str(run / "adapter" / "trsr-none")
    assert [entry["step"] for entry in log["steps"]] == [1, 2, 3, 4]
    told = trsr("train", world / "config.yaml", "--method", "none", "--out", run)
    assert told.out == f"ranker in {log['model']}, best at step {log['best_step']} of 4\n"


def test_rank_scores_a_candidates_file_as_the_run_did(trsr, world, run, tmp_path, monkeypatch):
    monkeypatch.setattr("trsr.llm.weights.pick_dtype", lambda device: torch.float32)  # the dtype of the run
    for method in METHODS:
        out = tmp_path / f"{method}.parquet"
        arguments = ["--candidates", run / "candidates.parquet", "--examples", run / "examples.parquet"]
        model = run / "adapter" / f"trsr-{method}"
        arguments += ["--summaries", run / "summaries.parquet", "--out", out]
        outcome = trsr("rank", model, world / "shop", *arguments)
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(f"{TESTS} examples scored in {out}: {TESTS * 10} candidates, ")
        of_run = pl.read_parquet(run / "scores" / f"trsr-{method}.parquet")
        assert_frame_equal(pl.read_parquet(out), of_run, rel_tol=0, abs_tol=1e-4)


def test_rank_gives_one_user_the_items_they_did_not_have(trsr, world, run):
    model, shop = run / "adapter" / "trsr-none", world / "shop"
    events = pl.read_parquet(shop / "interactions.parquet")
    had = set(events.filter(pl.col("user_id") == "r0003")["item_id"])
    ranked = json.loads(trsr("rank", model, shop, "--user", "r0003", "--json").out)
    every = set(pl.read_parquet(shop / "items.parquet")["item_id"])
    assert {entry["item_id"] for entry in ranked} == every - had
    odds = [entry["log_odds"] for entry in ranked]
    assert odds == sorted(odds, reverse=True)
    assert all(0 < entry["probability"] < 1 for entry in ranked)
    chosen = [entry["item_id"] for entry in ranked[:2]]
    two = trsr("rank", model, shop, "--user", "r0003", "--item", chosen[1], "--item", chosen[0], "--top", 1)
    assert len(two.out.splitlines()) == 1
    assert f" {chosen[0]} " in two.out


def test_summarize_makes_no_call_the_second_time(trsr, world, tmp_path, monkeypatch):
    arguments = ["--config", world / "config.yaml", "--store", tmp_path / "calls.sqlite", "--users", 4]
    for method in ("recurrent", "hierarchical"):
        out = tmp_path / f"{method}.parquet"
        command = ["summarize", world / "shop", "--method", method, "--out", out, *arguments, "--json"]
        first = json.loads(trsr(*command).out)
        assert first["users"] == 4
        assert first["calls_made"] > 0
        written = out.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(LocalGenerator, "submit", lambda *_: 1 / 0)
            second = json.loads(trsr(*command).out)
        assert (second["calls_made"], second["calls_found"], second["unchanged"]) == (0, 0, 4)
        assert out.read_bytes() == written
    frame = pl.read_parquet(tmp_path / "recurrent.parquet")
    assert frame["example_id"].to_list() == frame["user_id"].to_list() == ["r0000", "r0001", "r0002", "r0003"]
    told = trsr(*command[:-1])
    place = tmp_path / "calls.sqlite"
    assert told.out.splitlines() == [
        f"4 users in {place}: 0 new summaries, 4 were up to date; 0 calls made, 0 found",
        f"4 profiles in {tmp_path / 'hierarchical.parquet'}",
    ]


def test_summaries_of_summarize_serve_rank(trsr, world, run, tmp_path):
    store, out = tmp_path / "calls.sqlite", tmp_path / "now.parquet"
    trsr("summarize", world / "shop", "--config", world / "config.yaml", "--store", store, "--out", out)
    model = run / "adapter" / "trsr-recurrent"
    outcome = trsr("rank", model, world / "shop", "--user", "r0001", "--summaries", out, "--top", 3)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 3


def test_doctor_shows_the_answer_tokens_as_the_tokenizer_sees_them(trsr, world):
    facts = json.loads(trsr("doctor", "--model", world / "base", "--template", "films", "--json").out)
    assert facts["answer_yes"] == "'yes' is token 257, 'yes'"
    assert facts["answer_no"] == "'no' is token 258, 'no'"
    assert facts["answer_cue"] == repr("<|im_end|>\n<|im_start|>assistant\n")
    assert facts["weights"] == f"{world / 'base'} (local folder)"
    assert facts["chat_template"] == "the model's own"
    text = trsr("doctor", "--model", world / "base").out
    assert "answer_yes  'yes' is token 257" in text


def test_demo_runs_its_settings_in_runs_demo(trsr, run, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("trsr.experiment.run.run_experiment", lambda *given: asked.append(given) or run)
    monkeypatch.chdir(tmp_path)
    assert trsr("demo", "--json").code == 0
    assert trsr("demo", "--quick", "--out", "elsewhere").code == 0
    assert [(settings.name, str(out)) for settings, out in asked] == [
        ("demo", "runs/demo"),
        ("demo-quick", "elsewhere"),
    ]
    whole, quick = (settings for settings, _ in asked)
    assert whole.methods == quick.methods == ["none", "hierarchical", "recurrent"]
    assert quick.data.bookshop.readers < whole.data.bookshop.readers
