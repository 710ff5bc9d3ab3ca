"""Whether a setting made a difference: paired tests of runs that rank the same candidates with other settings."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from trsr.config import EvaluationConfig
from trsr.evaluation.comparisons import Comparison, Pair, compare
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.run_groups import Row, RunGroup
from trsr.evaluation.variants import seed_of


def setting_tests(group: RunGroup) -> list[Comparison]:
    """Every model of every other run with that of the first run (a grid's base), in the leading metric.

    A model that runs share is one, and not held against itself. Of several seeds, the values of a user are averaged
    over those that both have, for one seed alone may be a lucky one, and over all where they have none in common.
    Empty where the runs do not rank the very same candidates.
    """
    if not group.same_candidates or any(run.candidates is None for run in group.runs):
        return []
    first = group.variants[0]
    compared, frames = list[tuple[str, str]](), list[pl.DataFrame]()
    for model in first.metrics:
        alike = [row for row in group.rows if row.model == model and not row.is_bound]
        standing = group.standing(model, first)
        base = next((row for row in alike if row.variant is standing), None)
        for row in alike:
            if base is None or row is base:
                continue
            values = [_values(one, other, group.lead) for one, other in ((row, base), (base, row))]
            known = [frame for frame in values if frame is not None]
            if len(known) == len(values):
                names = [f"{len(compared)} {side}" for side in ("model", "against")]
                frames += [frame.with_columns(model=pl.lit(name)) for frame, name in zip(known, names, strict=True)]
                compared.append((row.label, base.label))
    if not compared or not _same_users(frames):
        return []
    pairs = [Pair(group.lead, f"{place} model", f"{place} against") for place in range(len(compared))]
    tests = compare(pl.concat(frames), pairs, EvaluationConfig())
    return [replace(test, model=one, against=other) for test, (one, other) in zip(tests, compared, strict=True)]


def _values(row: Row, other: Row, metric: str) -> pl.DataFrame | None:
    """The users' means of a row over the seeds that another row has too; None where they are not told."""
    both = {seed_of(run) for run in row.variant.runs} & {seed_of(run) for run in other.variant.runs}
    runs = [run for run in row.variant.runs if not both or seed_of(run) in both]
    found = [_of_run(run, row.model, metric) for run in runs]
    known = [frame for frame in found if frame is not None]
    if len(known) < len(runs):
        return None
    return pl.concat(known).group_by("user_id", maintain_order=True).agg(pl.col(metric).mean())


def _of_run(run: RunFiles, model: str, metric: str) -> pl.DataFrame | None:
    if run.per_user is None or metric not in run.per_user.columns:
        return None
    values = run.per_user.filter(pl.col("model") == model).select("user_id", metric)
    return None if values.is_empty() else values


def _same_users(frames: Sequence[pl.DataFrame]) -> bool:
    users = [frame["user_id"].sort() for frame in frames]
    return all(one.equals(users[0]) for one in users)
