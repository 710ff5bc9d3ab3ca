"""Whether a setting made a difference: paired tests of runs that rank the same candidates with other settings."""

from collections.abc import Sequence

import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.comparisons import Comparison, Pair, compare
from trsr.evaluation.run_groups import Row, RunGroup


def setting_tests(group: RunGroup) -> list[Comparison]:
    """Every model of every other run with that of the first run (a grid's base), in the leading metric.

    Empty where the runs do not rank the very same candidates, or where seeds are averaged.
    """
    known = all(run.candidates is not None for run in group.runs)
    if not known or not group.same_candidates or len(group.runs) > len(group.variants):
        return []
    pairs, frames = list[Pair](), list[pl.DataFrame]()
    for model in dict.fromkeys(row.model for row in group.rows if not row.is_bound):
        rows = [row for row in group.rows if row.model == model and _frame(row, group.lead) is not None]
        base = next((row for row in rows if row.variant is group.variants[0]), None)
        if base is not None and len(rows) > 1:
            pairs += [Pair(group.lead, row.label, base.label) for row in rows if row is not base]
            frames += [frame for row in rows if (frame := _frame(row, group.lead)) is not None]
    if not pairs or not _same_users(frames):
        return []
    return compare(pl.concat(frames), pairs, EvaluationConfig())


def _frame(row: Row, metric: str) -> pl.DataFrame | None:
    """The values of a row by user, under its label."""
    frame = row.run.per_user
    if frame is None or metric not in frame.columns:
        return None
    return frame.filter(pl.col("model") == row.model).select(pl.lit(row.label).alias("model"), "user_id", metric)


def _same_users(frames: Sequence[pl.DataFrame]) -> bool:
    users = [frame["user_id"].sort() for frame in frames]
    return all(one.equals(users[0]) for one in users)
