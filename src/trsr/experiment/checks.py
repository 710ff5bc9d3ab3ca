"""Checks that a run makes of itself: leaks in prompts and candidates, chance, ties, and what was shortened."""

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.columns import EXAMPLE, LABEL, TEST, TRAIN, VALID
from trsr.evaluation.evaluate import CHANCE, evaluate
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Task, Tasks
from trsr.prompts.inert import make_inert

_SHORTEST = 4  # shorter titles and ids are found in any text


def check_run(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Write `checks.json`: a list of {check, result ("ok" or "look"), detail}."""
    summaries = pl.read_parquet(folder.path / "summaries.parquet")
    scoring = dict(sorted(folder.read_manifest().get("scoring", {}).items()))  # none without an LLM
    splits = {split: tasks.of(split) for split in (TRAIN, VALID, TEST)}
    checks = [
        *[_negatives(tasks, split, members) for split, members in splits.items()],
        _repeats(tasks, splits[TEST]),
        _constant(tasks, config),
        *[
            _titles(tasks, split, members, summaries, method, config)
            for method in config.methods
            for split, members in splits.items()
        ],
        *[_ties(name, pl.read_parquet(folder.scores(name))) for name in scoring],
        *_shortened(scoring),
    ]
    folder.write_json("checks.json", checks)


def _entry(check: str, good: bool, detail: str) -> dict[str, str]:
    return {"check": check, "result": "ok" if good else "look", "detail": detail}


def _negatives(tasks: Tasks, split: str, members: Sequence[Task]) -> dict[str, str]:
    wrong = 0
    for task in members:
        taken = {*tasks.whole_history(task), _target(task)}
        pairs = zip(task.request.candidates, task.labels, strict=True)
        wrong += any(label == 0 and item in taken for item, label in pairs)
    return _entry(
        f"negatives are no target and no history item ({split})",
        wrong == 0,
        f"{wrong} of {len(members)} examples have one that is; the whole history counts",
    )


def _repeats(tasks: Tasks, test: Sequence[Task]) -> dict[str, str]:
    repeats = sum(_target(task) in tasks.whole_history(task) for task in test)
    detail = f"{repeats} of {len(test)} targets are repeats of an item that the user had before"
    return _entry("targets are new to the user", repeats == 0, detail)


def _constant(tasks: Tasks, config: ExperimentConfig) -> dict[str, str]:
    candidates = tasks.candidates[TEST]
    constant = candidates.select(EXAMPLE, "item_id", pl.lit(0.0).alias("score"))
    metrics = evaluate(candidates, {"constant": constant}, config.evaluation).metrics
    same = all(metrics["constant"][name]["mean"] == metrics[CHANCE][name]["mean"] for name in metrics[CHANCE])
    share = candidates.group_by(EXAMPLE).agg(pl.len(), pl.col(LABEL).sum())
    k = config.evaluation.ks[0]
    expected = float(share.select((k / pl.col("len")).clip(upper_bound=1.0).mean()).item())
    got = next(value["mean"] for name, value in metrics["constant"].items() if name.startswith(f"recall@{k}"))
    detail = f"recall@{k} of a constant scorer {got:.4f}, k/n {expected:.4f}"
    return _entry("a constant scorer gets chance", same and abs(got - expected) < 1e-9, detail)


def _titles(
    tasks: Tasks, split: str, members: Sequence[Task], summaries: pl.DataFrame, method: str, config: ExperimentConfig
) -> dict[str, str]:
    """Is the target's id or first attribute in the summary or in the text of the recent items of its prompt?"""
    of_method = summaries.filter(pl.col("method") == method)
    text = dict(of_method.select(EXAMPLE, "summary").iter_rows())
    title_of = tasks.dataset.attributes[0]
    fresh = repeated = 0
    for task in members:
        target = _target(task)
        recent = task.request.history[-config.prompt.recent_items :] if config.prompt.recent_items else ()
        shown = [str(tasks.catalogue[item][name] or "") for item in recent for name in tasks.dataset.attributes]
        prefix = _plain(" | ".join([text.get(task.request.example_id, ""), *shown]))
        title, target_id = _plain(str(tasks.catalogue[target][title_of] or "")), _plain(target)
        is_named = len(title) >= _SHORTEST and title in prefix
        is_numbered = len(target_id) >= _SHORTEST and re.search(rf"(?<!\w){re.escape(target_id)}(?!\w)", prefix)
        if is_named or is_numbered or target in recent:
            is_repeat = target in tasks.whole_history(task)
            repeated += is_repeat
            fresh += not is_repeat
    detail = (
        f"{fresh} of {len(members)} prefixes hold the {title_of} or id of a target that is new to the user, "
        f"{repeated} of one that repeats"
    )
    return _entry(f"the target is not in its own prompt ({method}, {split})", fresh == 0, detail)


def _plain(text: str) -> str:
    return make_inert(text).casefold()


def _ties(name: str, scores: pl.DataFrame) -> dict[str, str]:
    tied = scores.group_by(EXAMPLE, "score").len().filter(pl.col("len") > 1)["len"].sum()
    share = tied / max(len(scores), 1)
    return _entry(f"scores tell candidates apart ({name})", share < 0.05, f"{share:.1%} of scores are tied")


def _shortened(scoring: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    return [
        _entry(
            f"prompts are whole ({name})",
            counts["prompts_with_recent_items_dropped"] == counts["summaries_shortened"] == 0,
            f"{counts['items_shortened']} item texts and {counts['summaries_shortened']} summaries shortened, "
            f"{counts['recent_items_dropped']} recent items dropped; longest prompt {counts['longest_prompt']} tokens",
        )
        for name, counts in scoring.items()
    ]


def _target(task: Task) -> str:
    return task.request.candidates[task.labels.index(1)]
