"""Scores of one model on the test tasks, kept in parts as they are made."""

import shutil
from collections.abc import Callable, Sequence

import polars as pl

from trsr.data.columns import EXAMPLE, ITEM, TEST
from trsr.data.scoring import RankingRequest, Scorer
from trsr.experiment.run_folder import RunFolder, write_parquet
from trsr.experiment.tasks import Task
from trsr.progress import Stage, stage

_PART = 32
Note = Callable[[], str]


def score_tasks(
    folder: RunFolder, name: str, scorer: Scorer, tasks: Sequence[Task], note: Note = str, split: str = TEST
) -> None:
    """Write `RunFolder.scores(NAME, split)`; parts that an earlier, cut short run left are taken as they are."""
    parts = folder.score_parts(name, split)
    groups = [tasks[start : start + _PART] for start in range(0, len(tasks), _PART)]
    with stage(f"scoring {name}{'' if split == TEST else f', {split}'}", len(tasks)) as progress:
        for index, group in enumerate(groups):
            path = parts / f"{index:06d}.parquet"
            if path.exists():
                progress.update(index * _PART + len(group))
                continue
            write_parquet(path, score_requests(scorer, [task.request for task in group], progress, note))
    whole = pl.concat([pl.read_parquet(parts / f"{index:06d}.parquet") for index in range(len(groups))])
    write_parquet(folder.scores(name, split), whole)
    shutil.rmtree(parts)


def score_requests(
    scorer: Scorer, requests: Sequence[RankingRequest], progress: Stage, note: Note = str
) -> pl.DataFrame:
    """The rows of a scores file for these requests: example_id, item_id, score; `note` says how it goes."""
    rows = []
    for request, scores in zip(requests, scorer.score(requests), strict=True):
        rows.append(pl.DataFrame({EXAMPLE: request.example_id, ITEM: list(request.candidates), "score": scores}))
        progress.advance(note())
    return pl.concat(rows)
