"""Whether a setting made a difference: paired tests of runs that rank the same candidates with other settings."""

from collections.abc import Sequence

import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.comparisons import Comparison, Pair, compare
from trsr.evaluation.run_groups import Row, RunGroup


def setting_tests(group: RunGroup) -> list[Comparison]:
    """Every model of every other run with that of the first run (a grid's base), in the leading metric.

    A model that runs share is one, and not held against itself. Of runs that differ in the seed of training only, the
    values of a user are averaged. Empty where the runs do not rank the very same candidates.
    """
    if not group.same_candidates or any(run.candidates is None for run in group.runs):
        return []
    pairs, frames = list[Pair](), list[pl.DataFrame]()
    for model in dict.fromkeys(row.model for row in group.rows if not row.is_bound):
        alike = [row for row in group.rows if row.model == model]
        known = {row.label: frame for row in alike if (frame := _frame(row, group.lead)) is not None}
        rows = [row for row in alike if row.label in known]
        base = next((row for row in rows if row.variant is group.variants[0]), None)
        if base is not None and len(rows) > 1:
            pairs += [Pair(group.lead, row.label, base.label) for row in rows if row is not base]
            frames += known.values()
    if not pairs or not _same_users(frames):
        return []
    return compare(pl.concat(frames), pairs, EvaluationConfig())


def _frame(row: Row, metric: str) -> pl.DataFrame | None:
    """The values of a row by user, under its label; None where they are not told."""
    values = row.variant.per_user
    own = None if values is None else values.filter(pl.col("model") == row.model)
    if own is None or own.is_empty() or metric not in own.columns:
        return None
    return own.select(pl.lit(row.label).alias("model"), "user_id", metric)


def _same_users(frames: Sequence[pl.DataFrame]) -> bool:
    users = [frame["user_id"].sort() for frame in frames]
    return all(one.equals(users[0]) for one in users)
