"""Scores of one model on the test tasks, kept in parts as they are made."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from trsr.data.columns import EXAMPLE, ITEM
from trsr.data.scoring import RankingRequest, Scorer
from trsr.experiment.run_folder import write_parquet
from trsr.experiment.tasks import Task
from trsr.progress import Stage, stage

_PART = 32
_SCHEMA = {EXAMPLE: pl.String, ITEM: pl.String, "score": pl.Float32}
Note = Callable[[], str]


def score_into(path: Path, name: str, scorer: Scorer, tasks: Sequence[Task], note: Note = str) -> None:
    """Write the scores of tasks into one file, kept in parts beside it until they are whole; `name` is shown."""
    parts = path.with_suffix(".parts")
    groups = [tasks[start : start + _PART] for start in range(0, len(tasks), _PART)]
    with stage(f"scoring {name}", len(tasks)) as progress:
        for index, group in enumerate(groups):
            part = parts / f"{index:06d}.parquet"
            if part.exists():
                progress.update(index * _PART + len(group))
                continue
            write_parquet(part, score_requests(scorer, [task.request for task in group], progress, note))
    whole = [pl.read_parquet(parts / f"{index:06d}.parquet") for index in range(len(groups))]
    write_parquet(path, pl.concat(whole) if whole else pl.DataFrame(schema=_SCHEMA))
    shutil.rmtree(parts, ignore_errors=True)  # none were made of no tasks


def score_requests(
    scorer: Scorer, requests: Sequence[RankingRequest], progress: Stage, note: Note = str
) -> pl.DataFrame:
    """The rows of a scores file for these requests: example_id, item_id, score; `note` says how it goes."""
    rows = []
    for request, scores in zip(requests, scorer.score(requests), strict=True):
        rows.append(pl.DataFrame({EXAMPLE: request.example_id, ITEM: list(request.candidates), "score": scores}))
        progress.advance(note())
    return pl.concat(rows)
