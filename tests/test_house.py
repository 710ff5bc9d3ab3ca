"""The house itself: its size, its names, its papers. And where each invariant of DESIGN.md is held.

| invariant | tests that fail when it is broken |
|---|---|
| 1 chance | evaluation/test_metrics.py (constant scorer, ties), evaluation/test_evaluate.py, experiment/test_run.py (k/n), cli/test_commands.py (evaluate) |
| 2 exactness | ranking/test_shared_prefix.py (scores and gradients), cli/test_commands.py (`rank` gives the scores of the run) |
| 3 nothing cut | prompts/test_ranking_prompt.py, prompts/test_summarizing_prompts.py, cli/test_bad_input.py (50 kB), experiment/test_kill.py (counts after a kill) |
| 4 no peeking | data/test_splits.py, data/test_candidates.py, experiment/test_no_peeking.py (end to end, and planted targets), cli/test_bad_input.py (cuts of `rank`) |
| 5 same tokens | prompts/test_ranking_prompt.py, experiment/test_same_tokens.py (what is trained on is what is scored) |
| 6 data is data | summaries/test_attacks.py, llm/test_chat.py, prompts/test_inert.py, prompts/test_templates.py, cli/test_bad_input.py (attack in a title) |
| 7 nothing lost | summaries/live (20 kills, two processes, a failing server), summaries/test_summary_batches.py, ranking/test_training.py, experiment/test_kill.py |
| 8 nothing recomputed | summaries/live/test_incremental.py, summaries/test_summary_plans.py, summaries/test_summary_runner.py, experiment/test_run.py (second run), cli/test_commands.py (summarize twice), experiment/test_new_event.py |
| 9 reproducible | experiment/test_run.py (two folders, to the byte), ranking/test_training.py, data/test_candidates.py, data/test_bookshop.py |
| 10 errors speak | cli/test_bad_input.py, data/test_dataset.py, evaluation/test_evaluate.py, ranking/test_ranker_folder.py, test_config.py, test_files.py |
"""  # noqa: E501

import ast
import re
from pathlib import Path

import pytest

from trsr.cli.reference import render

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))
PICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


def test_no_module_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > 330} == {}


def test_no_module_is_named_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    names = {part for path in (ROOT / "src").rglob("*") for part in path.stem.split("_")}
    assert names & vague == set()


def test_nothing_pickled_is_read_or_written():
    """A model folder from a stranger must not run code here."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names} & PICKLES
            elif isinstance(node, ast.ImportFrom):
                found |= {(node.module or "").partition(".")[0]} & PICKLES
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                found |= {f"torch.{node.attr}"} & {"torch.load", "torch.save"}
    assert found == set()


def test_only_the_program_and_progress_print():
    for path in MODULES:
        if "cli" in path.parts or path.name == "progress.py":
            continue
        names = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name))
        assert "print" not in {name.id for name in names}, path


def test_the_table_above_names_tests_that_are_there():
    named = set(re.findall(r"[\w/]+\.py", __doc__))
    assert {name for name in named if not (ROOT / "tests" / name).is_file()} == set()
    assert re.findall(r"^\| (\d+) ", __doc__, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_the_reference_of_commands_is_fresh():
    path = ROOT / "docs" / "cli.md"
    assert path.read_text(encoding="utf-8") == render(), "docs/cli.md is stale: python -m trsr.cli.reference"


@pytest.mark.parametrize("title", ["Install and run", "Install and test"])
def test_the_readme_has_one_set_up_command_under_each_heading(title):
    """`.ci/run` takes the test command from here; a reader copies one line and is done."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [section] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    [block] = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    commands = re.sub(r"\\\n\s*", " ", block).strip().splitlines()
    assert len(commands) == 1, commands


def test_the_readme_has_no_third_set_up():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## Install.*$", readme, re.MULTILINE) == ["## Install and run", "## Install and test"]
