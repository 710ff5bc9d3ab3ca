"""What a check says, and what checks share: which examples are looked at, scores beside their candidates."""

from collections.abc import Sequence
from typing import TypeAlias

import polars as pl

from trsr.data.columns import EXAMPLE, ITEM, LABEL
from trsr.data.seeds import generator
from trsr.evaluation.metrics import Floats, Ints
from trsr.experiment.tasks import Task

Entry: TypeAlias = dict[str, str]
"""One line of `checks.json`: check, result ("ok" or "look") and detail."""

MOST_EXAMPLES, MOST_ROWS = 2_000, 50_000
"""Checks whose work grows with texts or draws look at so many examples and candidates of a split, drawn by the seed."""

TOLERATED = 0.01
"""A share of examples with a finding from which on it is worth a look; every real data set has some."""


def entry(check: str, good: bool, detail: str) -> Entry:
    """A line of `checks.json`."""
    return {"check": check, "result": "ok" if good else "look", "detail": detail}


def some_tasks(tasks: Sequence[Task], seed: int, most: int | None = None) -> Sequence[Task]:
    """At most `most` tasks, or as many as the bounds of checks allow, drawn by the seed, in their order."""
    rows = sum(len(task.labels) for task in tasks)
    return [tasks[place] for place in _drawn(len(tasks), seed, _allowed(len(tasks), rows) if most is None else most)]


def some_examples(candidates: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The same of the rows of a candidates frame, within the bounds of checks."""
    ids = candidates[EXAMPLE].unique(maintain_order=True)
    places = _drawn(len(ids), seed, _allowed(len(ids), candidates.height))
    return candidates.filter(pl.col(EXAMPLE).is_in(ids.gather(places).implode()))


def beside(candidates: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The candidates with their `score` and their `place` (0, 1, ...) in the example."""
    pairs = scores.select(EXAMPLE, ITEM, pl.col("score").cast(pl.Float64))
    scored = candidates.join(pairs, on=[EXAMPLE, ITEM], how="left", maintain_order="left")
    return scored.with_columns(pl.int_range(pl.len()).over(EXAMPLE).alias("place"))


def arrays(scored: pl.DataFrame) -> tuple[Floats, Ints, Ints]:
    """Scores, labels and the number of the example (0, 1, ...) of each row, as the metrics take them."""
    examples = scored[EXAMPLE].rank("dense").cast(pl.Int64).to_numpy() - 1
    return scored["score"].to_numpy(), scored[LABEL].cast(pl.Int64).to_numpy(), examples


def _allowed(size: int, rows: int) -> int:
    return min(MOST_EXAMPLES, max(1, MOST_ROWS * size // max(rows, 1)))


def _drawn(size: int, seed: int, most: int) -> list[int]:
    return sorted(generator(seed, "checked examples").permutation(size)[:most].tolist())
