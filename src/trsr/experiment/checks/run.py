"""All checks of one run, in the order in which they are shown."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from trsr.config import ExperimentConfig, PromptConfig
from trsr.data.columns import EXAMPLE, TEST, TRAIN, VALID
from trsr.data.reading import read_table
from trsr.experiment.checks import candidates, moments, near_duplicates, places, prompts, scores
from trsr.experiment.checks.control_results import control_results, not_asked, not_tried
from trsr.experiment.checks.entry import Entry, beside, some_examples, some_tasks
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.shown import shown_items
from trsr.experiment.tasks import Task, Tasks

Splits = Mapping[str, Sequence[Task]]


def check_run(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Write `checks.json`, a list of {check, result ("ok" or "look"), detail}, and `controls.json`."""
    summaries = read_table(folder.path / "summaries.parquet")
    splits = {split: tasks.of(split) for split in (TRAIN, VALID, TEST)}
    content, controls = control_results(folder, tasks, config)
    checks = [
        *(candidates.negatives(tasks, split, members) for split, members in splits.items()),
        candidates.repeats(tasks, splits[TEST]),
        candidates.constant(tasks, config.evaluation),
        places.target_places(tasks.candidates[TEST]),
        moments.history_before_target(tasks, splits, summaries),
        moments.fitted_before_target(tasks),
        *_leaks(tasks, splits, summaries, config),
        *_of_scores(folder, tasks, config),
        *controls,
        *([] if config.checks.control_examples else [not_asked()]),
    ]
    folder.write_json("controls.json", content)
    folder.write_json("checks.json", checks)


def _leaks(tasks: Tasks, splits: Splits, summaries: pl.DataFrame, config: ExperimentConfig) -> Iterator[Entry]:
    """Is a target known from its name, or from its twin?"""
    blocks = near_duplicates.blocks_by_example(summaries)
    # the prompt that may show most
    widest = max((config.prompt_of(method) for method in config.methods), key=_may_show_all, default=config.prompt)
    some = {
        split: near_duplicates.SomeTasks(tasks, split, some_tasks(members, config.seed), blocks, config.seed)
        for split, members in splits.items()
    }
    for method in config.methods:
        shown = shown_items(tasks, config, method)
        texts = dict(summaries.filter(pl.col("method") == method).select(EXAMPLE, "summary").iter_rows())
        for split, members in splits.items():
            yield prompts.named_targets(tasks, split, members, texts, method, shown)
            if texts:
                yield near_duplicates.targets_in_summaries(some[split], texts, method)
    for split in splits:
        yield near_duplicates.twins_in_history(some[split], widest)
    yield near_duplicates.twins_as_negatives(some[TEST])


def _may_show_all(prompt: PromptConfig) -> bool:
    return prompt.recent != "items"


def _of_scores(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> Iterator[Entry]:
    """Are models measured fairly, and what was shortened in their prompts?"""
    scoring = folder.read_manifest().get("scoring", {})  # none without an LLM
    looked_at = some_examples(tasks.candidates[TEST], config.seed)
    for path in sorted((folder.path / "scores").glob("*.parquet")):
        name, found = path.stem, read_table(path)
        scored = beside(looked_at, found)
        yield scores.ties(name, found, may_tie=name not in scoring)  # many items have as many events
        yield scores.chance(name, scored, config.evaluation.ks, config.seed)
        yield places.score_places(name, scored, config.evaluation.ks[0], config.seed)
    for name, counts in sorted(scoring.items()):
        yield prompts.shortened(name, counts)
        if config.checks.control_examples and not folder.controls(name).exists():
            yield not_tried(name)
