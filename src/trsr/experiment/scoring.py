"""Scores of one model on the test tasks, kept in parts as they are made."""

import shutil
from collections.abc import Sequence

import polars as pl

from trsr.data.columns import EXAMPLE, ITEM
from trsr.data.scoring import Scorer
from trsr.experiment.run_folder import RunFolder, write_parquet
from trsr.experiment.tasks import Task
from trsr.progress import stage

_PART = 32


def score_tasks(folder: RunFolder, name: str, scorer: Scorer, tasks: Sequence[Task]) -> None:
    """Write `scores/NAME.parquet`; parts that an earlier, cut short run left are taken as they are."""
    parts = folder.path / "scores" / f"{name}.parts"
    groups = [tasks[start : start + _PART] for start in range(0, len(tasks), _PART)]
    with stage(f"scoring {name}", len(tasks)) as progress:
        for index, group in enumerate(groups):
            path = parts / f"{index:06d}.parquet"
            if path.exists():
                progress.update(index * _PART + len(group))
                continue
            rows = []
            for task, scores in zip(group, scorer.score([task.request for task in group]), strict=True):
                request = task.request
                rows.append(
                    pl.DataFrame({EXAMPLE: request.example_id, ITEM: list(request.candidates), "score": scores})
                )
                progress.advance()
            write_parquet(path, pl.concat(rows))
    whole = pl.concat([pl.read_parquet(parts / f"{index:06d}.parquet") for index in range(len(groups))])
    write_parquet(folder.scores(name), whole)
    shutil.rmtree(parts)
