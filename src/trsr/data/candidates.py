"""Candidate sets: one target beside uniform negatives for every example, and the check of such a file.

Negatives are uniform over the catalogue without the target and without every item of the user's history before
the target; `trsr.data.negatives` draws them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from trsr.data.columns import CANDIDATES, EXAMPLE, ITEM, LABEL, ORDER, SOURCE, TARGET, UNIFORM, USER
from trsr.data.negatives import DENSE_SHARE, Bools, Tasks, draw_by_order, draw_by_rejection
from trsr.data.reading import read_table
from trsr.data.seeds import generator
from trsr.data.validation import first_row
from trsr.errors import DataError


def sample_candidates(
    examples: pl.DataFrame,
    histories: pl.DataFrame | Mapping[str, Sequence[str]],
    catalogue: pl.Series | Sequence[str],
    negatives: int,
    seed: int,
) -> pl.DataFrame:
    """The target and `negatives` distinct uniform negatives of every example, in an order drawn from the seed.

    `examples` has `example_id, user_id, cut, item_id`; `histories` is `Dataset.interactions`, or all items of each
    user, oldest first. The rows of the result are grouped by example, sorted by id, whatever the order of `examples`
    and of the catalogue. Raises `DataError` if an example has too few items left to draw from.
    """
    examples = examples.sort(EXAMPLE)
    events = histories if isinstance(histories, pl.DataFrame) else _events(examples, histories)
    tasks = Tasks.encode(examples, events, pl.Series(ITEM, catalogue, dtype=pl.String))
    rng = generator(seed, "candidates")
    rare = _is_rare(examples, tasks, negatives)
    codes = np.empty((examples.height, negatives + 1), dtype=np.int32)
    codes[~rare, :-1] = draw_by_rejection(tasks, np.flatnonzero(~rare), negatives, rng)
    codes[rare, :-1] = draw_by_order(tasks, np.flatnonzero(rare), negatives, rng)
    rows = np.arange(examples.height)
    place = rng.integers(negatives + 1, size=examples.height)
    codes[:, -1] = codes[rows, place]
    codes[rows, place] = tasks.target
    label = np.zeros(codes.shape, dtype=np.int8)
    label[rows, place] = 1
    labels = pl.Series(LABEL, label.ravel())
    return examples.select(EXAMPLE, USER)[np.repeat(rows.astype(np.uint32), negatives + 1)].with_columns(
        tasks.vocabulary.gather(pl.Series(codes.ravel().view(np.uint32))).alias(ITEM),
        labels,
        pl.when(labels == 1).then(pl.lit(TARGET)).otherwise(pl.lit(UNIFORM)).alias(SOURCE),
    )


def _events(examples: pl.DataFrame, histories: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """The histories of the users of some examples as `Dataset.interactions` holds them."""
    users = examples[USER].unique().sort()
    items = [histories[user] for user in users]
    lengths = np.array([len(history) for history in items], dtype=np.int64)
    owner = np.repeat(np.arange(lengths.size), lengths)
    return pl.DataFrame(
        {
            USER: users.gather(owner),
            ITEM: pl.Series([item for history in items for item in history], dtype=pl.String),
            ORDER: np.arange(owner.size) - (np.cumsum(lengths) - lengths)[owner],
        }
    )


def _is_rare(examples: pl.DataFrame, tasks: Tasks, negatives: int) -> Bools:
    """For which examples a random code is forbidden, or drawn twice, too often to be drawn again until it is not.

    Raises `DataError` for an example with too few items left. Histories are counted with repeats where that suffices.
    """
    forbidden = tasks.cut + 1
    close = np.flatnonzero(DENSE_SHARE * np.maximum(forbidden, negatives) > tasks.size)
    forbidden[close] = tasks.forbidden_counts(close)
    free = tasks.size - forbidden
    if (free < negatives).any():
        row = int(np.argmax(free < negatives))
        raise DataError(
            f"example {examples[EXAMPLE][row]}: {free[row]} items are left to draw from, {negatives} negatives are "
            "wanted; lower candidates.negatives and candidates.train_negatives"
        )
    rare: Bools = DENSE_SHARE * np.maximum(forbidden, negatives) > tasks.size
    return rare


def read_candidates(path: Path) -> pl.DataFrame:
    """A checked candidates file with the contract's columns in order."""
    frame = read_table(path)
    check_candidates(frame, str(path))
    return frame.select(*CANDIDATES).with_columns(pl.col(LABEL).cast(pl.Int8))


def check_candidates(frame: pl.DataFrame, place: str) -> None:
    """Raise `DataError` at the first thing that keeps `frame` from being a candidates table; rows count from 1."""
    for name in CANDIDATES:
        if name not in frame.columns:
            raise DataError(f"{place}: column {name} is missing; a candidates table has {', '.join(CANDIDATES)}")
        kind = frame.schema[name]
        if not (kind.is_integer() if name == LABEL else kind == pl.String):
            raise DataError(f"{place}: {name} holds {kind} values; write {'0 or 1' if name == LABEL else 'text'}")
        row = first_row(frame, pl.col(name).is_null())
        if row:
            raise DataError(f"{place}: row {row}: {name} is empty; fill it or delete the row")
    if frame.is_empty():
        raise DataError(f"{place}: the table has no rows; write at least one example")
    row = first_row(frame, ~pl.col(LABEL).is_in([0, 1]))
    if row:
        raise DataError(f"{place}: row {row}: {LABEL} is {frame[LABEL][row - 1]}; write 1 for a target and 0 otherwise")
    row = first_row(frame, ~pl.struct(EXAMPLE, ITEM).is_first_distinct())
    if row:
        example, item = frame[EXAMPLE][row - 1], frame[ITEM][row - 1]
        raise DataError(f"{place}: row {row}: item {item!r} is there twice for example {example!r}; keep one of them")
    row = first_row(frame, pl.col(USER) != pl.col(USER).first().over(EXAMPLE))
    if row:
        example = frame[EXAMPLE][row - 1]
        raise DataError(f"{place}: row {row}: example {example!r} has another user above; an example has one user")
    row = first_row(frame, pl.col(LABEL).max().over(EXAMPLE) == 0)
    if row:
        raise DataError(f"{place}: row {row}: example {frame[EXAMPLE][row - 1]!r} has no row with {LABEL} 1; add it")
