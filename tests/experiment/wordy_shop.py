"""A small shop whose items all say something else, in which no check should find anything; faults are planted in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from trsr.config import ExperimentConfig, parse_settings
from trsr.experiment.tasks import Task, Tasks, make_tasks

USERS, ITEMS, EVENTS, NEGATIVES = 60, 150, 8, 9


def wordy_config(folder: Path, **changes) -> ExperimentConfig:
    values = {
        "name": "wordy",
        "seed": 2,
        "methods": [],
        "data": {"path": str(folder), "min_history": 3},
        "split": {"by": "time", "valid": 0.2, "test": 0.2},
        "candidates": {"negatives": NEGATIVES, "train_negatives": 3},
        "evaluation": {"ks": [3], "resamples": 200},
    }
    return parse_settings(ExperimentConfig, values | changes, "test")


def wordy_tasks(folder: Path, **changes) -> Tasks:
    """Titles of four random words, descriptions of twenty; every user has eight different items at random times."""
    rng = np.random.default_rng(4)
    words = [f"{first}{second}" for first in "bcdfghklmn" for second in ("ale", "ondo", "irk", "umsy", "epta", "ost")]

    def say(count: int) -> str:
        return " ".join(rng.choice(words, count))

    ids = [f"item-{number:03d}" for number in range(ITEMS)]
    items = pl.DataFrame({"item_id": ids, "title": [say(4) for _ in ids], "about": [say(20) for _ in ids]})
    rows = [
        (f"user-{user:02d}", item, int(rng.integers(10**6)))
        for user in range(USERS)
        for item in rng.choice(ids, EVENTS, replace=False)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    items.write_parquet(folder / "items.parquet")
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    events.write_parquet(folder / "interactions.parquet")
    return make_tasks(wordy_config(folder, **changes))


def with_items(tasks: Tasks, rows: list[dict[str, str]]) -> Tasks:
    """The same with more items in the catalogue."""
    more = pl.DataFrame(rows, schema=tasks.dataset.items.schema)
    return replace(tasks, dataset=replace(tasks.dataset, items=pl.concat([tasks.dataset.items, more]).sort("item_id")))


def with_history(task: Task, *items: str) -> Task:
    return replace(task, request=replace(task.request, history=items))
