"""One user's story for the report: blocks, how the summary grew, recent items and the ranked candidates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.columns import EXAMPLE, TEST
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Task, Tasks
from trsr.prompts.items import shown_text

_SHOWN_CHARACTERS = 160


def tell_stories(folder: RunFolder, tasks: Tasks, config: ExperimentConfig) -> None:
    """Write `stories.json`: the same user, drawn by the seed, once for every method."""
    summaries = pl.read_parquet(folder.path / "summaries.parquet")
    task = _draw(tasks.of(TEST), config)
    profiles = {row["method"]: row for row in summaries.filter(pl.col(EXAMPLE) == task.request.example_id).to_dicts()}
    ordered = sorted(config.methods, key=lambda method: method not in profiles)
    stories = [_story(folder, tasks, config, task, method, profiles.get(method, {})) for method in ordered]
    folder.write_json("stories.json", stories)


def _draw(test: list[Task], config: ExperimentConfig) -> Task:
    """A user with at least two blocks where there is one; drawn, not chosen for a good result."""
    long = [task for task in test if len(task.request.history) > config.summaries.block_size] or test
    return long[int(np.random.default_rng(config.seed).integers(len(long)))]


def _story(
    folder: RunFolder, tasks: Tasks, config: ExperimentConfig, task: Task, method: str, profile: dict[str, Any]
) -> dict[str, Any]:
    model = f"trsr-{method}"
    scores = pl.read_parquet(folder.scores(model)).filter(pl.col(EXAMPLE) == task.request.example_id)
    odds = dict(scores.select("item_id", "score").iter_rows())
    text = _texts(tasks)
    ranked = sorted(zip(task.request.candidates, task.labels, strict=True), key=lambda pair: -odds[pair[0]])
    recent = task.request.history[-config.prompt.recent_items :] if config.prompt.recent_items else ()
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
