"""Users' stories for the report: blocks, how the summary grew, recent items and the ranked candidates."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import polars as pl

from trsr.config import TUNED, ExperimentConfig, RankerMethod
from trsr.data.columns import EXAMPLE, ITEM, LABEL, TEST
from trsr.data.reading import read_table
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.shown import Shown, shown_items
from trsr.experiment.tasks import Task, Tasks
from trsr.prompts.items import shown_text

_SHOWN_CHARACTERS = 160


def tell_stories(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Write `stories.json`: a user drawn by the seed, once for every method, then a win and a loss where there are.

    A win is the example where the best tuned ranker puts the target furthest ahead of where the best baseline puts it,
    a loss where furthest behind; the drawn user is neither.
    """
    summaries = read_table(folder.path / "summaries.parquet")
    test = tasks.of(TEST)
    drawn = _draw(test, config)

    @cache
    def shown(method: RankerMethod) -> Shown:
        return shown_items(tasks, config, method)

    def story(kind: str, task: Task, method: RankerMethod) -> dict[str, Any]:
        of_task = summaries.filter((pl.col(EXAMPLE) == task.request.example_id) & (pl.col("method") == method))
        profile = next(iter(of_task.to_dicts()), {})
        return {"kind": kind, **_story(folder, tasks, shown(method), task, method, profile)}

    summarised = set(summaries.filter(pl.col(EXAMPLE) == drawn.request.example_id)["method"])
    ordered = sorted(config.methods, key=lambda method: method not in summarised)
    stories = [story("drawn", drawn, method) for method in ordered]
    pair = _best_pair(folder, config)
    if pair is not None:
        method, baseline = pair
        ranks, against = (_ranks(folder, model) for model in (f"{TUNED}{method}", baseline))
        for kind, task in _extremes([task for task in test if task is not drawn], ranks, against):
            example = task.request.example_id
            compared = {"against": baseline, "rank": ranks[example], "rank_against": against[example]}
            stories.append(story(kind, task, method) | compared)
    folder.write_json("stories.json", stories)


def _best_pair(folder: RunFolder, config: ExperimentConfig) -> tuple[RankerMethod, str] | None:
    """The method of the best tuned ranker and the best baseline, by the first mrr; none where one is missing."""
    if not config.methods or not config.baselines:
        return None
    metrics = folder.read_metrics()
    lead = next(name for name in metrics[config.baselines[0]] if name.startswith("mrr@"))
    method = max(config.methods, key=lambda name: metrics[f"{TUNED}{name}"][lead]["mean"])
    return method, max(config.baselines, key=lambda name: metrics[name][lead]["mean"])


def _ranks(folder: RunFolder, model: str) -> dict[str, float]:
    """The place of the best target of every example, from 1; tied candidates share the mean of their places."""
    scored = read_table(folder.candidates).join(read_table(folder.scores(model)), on=[EXAMPLE, ITEM])
    target = pl.col("score").filter(pl.col(LABEL) == 1).max()
    better, tied = (pl.col("score") > target).sum(), (pl.col("score") == target).sum() - 1
    return dict(scored.group_by(EXAMPLE).agg(1 + better + tied / 2).iter_rows())


def _extremes(
    test: Sequence[Task], ranks: Mapping[str, float], against: Mapping[str, float]
) -> list[tuple[Literal["win", "loss"], Task]]:
    def gain(task: Task) -> float:
        return against[task.request.example_id] - ranks[task.request.example_id]

    found = list[tuple[Literal["win", "loss"], Task]]()
    if test and gain(best := max(test, key=gain)) > 0:
        found.append(("win", best))
    if test and gain(worst := min(test, key=gain)) < 0:
        found.append(("loss", worst))
    return found


def _draw(test: list[Task], config: ExperimentConfig) -> Task:
    """A user with at least two blocks where there is one; drawn, not chosen for a good result."""
    long = [task for task in test if len(task.request.history) > config.summaries.block_size] or test
    return long[int(np.random.default_rng(config.seed).integers(len(long)))]


def _story(
    folder: RunFolder,
    tasks: Tasks,
    shown: Shown,
    task: Task,
    method: RankerMethod,
    profile: dict[str, Any],
) -> dict[str, Any]:
    model = f"{TUNED}{method}"
    scores = read_table(folder.scores(model)).filter(pl.col(EXAMPLE) == task.request.example_id)
    odds = dict(scores.select("item_id", "score").iter_rows())
    text = _texts(tasks)
    ranked = sorted(zip(task.request.candidates, task.labels, strict=True), key=lambda pair: -odds[pair[0]])
    recent = shown(task, profile.get("summary", ""))
    return {
        "user_id": task.request.user_id,
        "target": "; ".join(map(text, task.targets)),
        "model": model,
        "method": method,
        "blocks": [[text(item) for item in block] for block in profile.get("blocks", [])],
        "steps": profile.get("steps", []),
        "summary": profile.get("summary", ""),
        "recent": [text(item) for item in recent],
        "ranked": [
            {
                "item_id": item,
                "text": text(item),
                "probability": float(1 / (1 + np.exp(-np.float64(odds[item])))),
                "label": label,
            }
            for item, label in ranked
        ],
    }


def _texts(tasks: Tasks) -> Callable[[str], str]:
    def text(item: str) -> str:
        whole = shown_text(tasks.catalogue[item], tasks.dataset.attributes)
        return whole if len(whole) <= _SHOWN_CHARACTERS else whole[: _SHOWN_CHARACTERS - 1] + "…"

    return text
