"""Are the candidates fair: negatives that are none, targets that were had before, and what a constant scorer gets."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from trsr.config import EvaluationConfig
from trsr.data.columns import EXAMPLE, ITEM, TEST, USER
from trsr.evaluation.evaluate import CHANCE, evaluate
from trsr.experiment.checks.entry import Entry, entry
from trsr.experiment.tasks import Task, Tasks


def negatives(tasks: Tasks, split: str, members: Sequence[Task]) -> Entry:
    """Is a candidate with label 0 a target, or an item that the user had before?"""
    wrong = 0
    for task in members:
        taken = {*tasks.whole_history(task), *task.targets}
        pairs = zip(task.request.candidates, task.labels, strict=True)
        wrong += any(label == 0 and item in taken for item, label in pairs)
    return entry(
        f"negatives are no target and no history item ({split})",
        wrong == 0,
        f"{wrong} of {len(members)} examples have one that is; the whole history counts",
    )


def repeats(tasks: Tasks, test: Sequence[Task]) -> Entry:
    """Had the user a target before?"""
    had = [target in tasks.whole_history(task) for task in test for target in task.targets]
    detail = f"{sum(had)} of {len(had)} targets are repeats of an item that the user had before"
    return entry("targets are new to the user", not any(had), detail)


def constant(tasks: Tasks, config: EvaluationConfig) -> Entry:
    """Does a scorer that gives every candidate the same score get exactly k of n?"""
    candidates = tasks.candidates[TEST]
    frame = candidates.select(EXAMPLE, ITEM, pl.lit(0.0).alias("score"))
    metrics = evaluate(candidates, {"constant": frame}, config).metrics
    same = all(metrics["constant"][name]["mean"] == metrics[CHANCE][name]["mean"] for name in metrics[CHANCE])
    k = config.ks[0]
    sizes = candidates.group_by(EXAMPLE).agg(pl.col(USER).first(), pl.len())
    shares = sizes.group_by(USER).agg((k / pl.col("len")).clip(upper_bound=1.0).mean().alias("share"))
    expected = float(np.mean(shares["share"].to_numpy()))
    got = next(value["mean"] for name, value in metrics["constant"].items() if name.startswith(f"recall@{k}"))
    detail = f"recall@{k} of a constant scorer {got:.4f}, k/n {expected:.4f}"
    return entry("a constant scorer gets chance", same and abs(got - expected) < 1e-9, detail)
