"""Candidate sets: targets beside negatives that are drawn, near or all there are, and the check of such a file.

A negative is never the target nor an item of the user's history before it; `trsr.data.negatives` draws them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from trsr.data.columns import (
    CANDIDATES,
    CATALOGUE,
    EXAMPLE,
    ITEM,
    LABEL,
    ORDER,
    POPULAR,
    RETRIEVED,
    SOURCE,
    TARGET,
    UNIFORM,
    USER,
)
from trsr.data.negatives import CELLS, DENSE_SHARE, Bools, Codes, Ints, Tasks, draw_by_order, draw_by_rejection
from trsr.data.reading import read_table
from trsr.data.scoring import Scores
from trsr.data.seeds import generator
from trsr.data.validation import first_row
from trsr.errors import DataError


def sample_candidates(
    examples: pl.DataFrame,
    histories: pl.DataFrame | Mapping[str, Sequence[str]],
    catalogue: pl.Series | Sequence[str],
    negatives: int,
    seed: int,
    popular: pl.Series | None = None,
) -> pl.DataFrame:
    """The target and `negatives` distinct negatives of every example, in an order drawn from the seed.

    Negatives are uniform or, where `popular` gives the items of some events, drawn one after another with odds of how
    often an item is among these; an item that is not is never drawn.

    `examples` has `example_id, user_id, cut, item_id`; `histories` is `Dataset.interactions`, or all items of each
    user, oldest first. The rows of the result are grouped by example, sorted by id, whatever the order of `examples`,
    of the catalogue and of `popular`. Raises `DataError` if an example has too few items left to draw from.
    """
    examples = examples.sort(EXAMPLE)
    events = histories if isinstance(histories, pl.DataFrame) else _events(examples, histories)
    tasks = Tasks.encode(examples, events, pl.Series(ITEM, catalogue, dtype=pl.String))
    rng = generator(seed, "candidates")
    counts = None if popular is None else _counts(tasks, popular)
    rare = _is_rare(examples, tasks, negatives) if counts is None else _is_heavy(examples, tasks, negatives, counts)
    codes = np.empty((examples.height, negatives), dtype=np.int32)
    codes[~rare] = draw_by_rejection(tasks, np.flatnonzero(~rare), negatives, rng, counts)
    codes[rare] = draw_by_order(tasks, np.flatnonzero(rare), negatives, rng, counts)
    return _beside_targets(examples, tasks, codes, UNIFORM if counts is None else POPULAR, rng)


def nearest_candidates(
    examples: pl.DataFrame,
    events: pl.DataFrame,
    catalogue: pl.Series,
    scores: Iterator[Scores],
    negatives: int,
    seed: int,
) -> pl.DataFrame:
    """The target and the `negatives` allowed items of the highest score, in an order drawn from the seed.

    `scores` has, for every example in the order of ids, one score for each item of the catalogue in the order of ids;
    ties are broken by the seed. Else as `sample_candidates`, with `events` as `Dataset.interactions`.
    """
    examples = examples.sort(EXAMPLE)
    tasks = Tasks.encode(examples, events, catalogue)
    rng = generator(seed, "candidates")
    tie = rng.permutation(tasks.size)
    codes = np.empty((examples.height, negatives), dtype=np.int32)
    for row, found in zip(range(examples.height), scores, strict=True):
        allowed = tasks.allowed(np.array([row]))[0]
        places = np.flatnonzero(allowed)
        if places.size < negatives:
            raise _too_few(examples, row, places.size, negatives)
        codes[row] = places[np.lexsort((tie[places], -found[places]))[:negatives]]
    return _beside_targets(examples, tasks, codes, RETRIEVED, rng)


def catalogue_candidates(examples: pl.DataFrame, events: pl.DataFrame, catalogue: pl.Series) -> pl.DataFrame:
    """The target and every item that is not in the history before it, sorted by item id within an example.

    Arguments and order of examples as in `sample_candidates`; about 65 bytes of memory a row. Raises `DataError` where
    a user had all other items.
    """
    examples = examples.sort(EXAMPLE)
    tasks = Tasks.encode(examples, events, catalogue)
    step = max(1, CELLS // tasks.vocabulary.len())
    parts = []
    for begin in range(0, examples.height, step):
        rows = np.arange(begin, min(begin + step, examples.height))
        allowed = tasks.allowed(rows)
        if not allowed.any(axis=1).all():
            name = examples[EXAMPLE][begin + int(np.argmin(allowed.any(axis=1)))]
            raise DataError(
                f"example {name}: its user had all other items, so nothing stands beside the target; add items"
            )
        whole = np.zeros((rows.size, tasks.vocabulary.len()), np.bool_)
        whole[:, : tasks.size] = allowed
        whole[np.arange(rows.size), tasks.target[rows]] = True
        lines, codes = np.nonzero(whole)
        parts.append(_rows(examples, tasks, begin + lines, codes, codes == tasks.target[rows][lines], CATALOGUE))
    return pl.concat(parts)


def _beside_targets(
    examples: pl.DataFrame, tasks: Tasks, negatives: Codes, source: str, rng: np.random.Generator
) -> pl.DataFrame:
    """Every target at a random place among its negatives, one line of codes for each example."""
    codes = np.column_stack([negatives, tasks.target])
    rows = np.arange(examples.height)
    place = rng.integers(codes.shape[1], size=rows.size)
    codes[:, -1] = codes[rows, place]
    codes[rows, place] = tasks.target
    is_target = np.zeros(codes.shape, np.bool_)
    is_target[rows, place] = True
    return _rows(examples, tasks, np.repeat(rows, codes.shape[1]), codes.ravel(), is_target.ravel(), source)


def _rows(
    examples: pl.DataFrame, tasks: Tasks, lines: Ints, codes: Codes | Ints, is_target: Bools, source: str
) -> pl.DataFrame:
    """Rows of a candidates table, given by the places of their examples and the codes of their items."""
    target = pl.Series(LABEL, is_target)
    return examples.select(EXAMPLE, USER)[lines.astype(np.uint32)].with_columns(
        tasks.vocabulary.gather(pl.Series(codes.astype(np.uint32))).alias(ITEM),
        target.cast(pl.Int8),
        pl.when(target).then(pl.lit(TARGET)).otherwise(pl.lit(source)).alias(SOURCE),
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


def _counts(tasks: Tasks, items: pl.Series) -> Ints:
    """How often each item of the catalogue is among some items."""
    found = items.alias(ITEM).value_counts(name="count")
    catalogue = tasks.vocabulary[: tasks.size].alias(ITEM).to_frame()
    joined = catalogue.join(found, on=ITEM, how="left", maintain_order="left")
    return joined["count"].fill_null(0).cast(pl.Int64).to_numpy()


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
        raise _too_few(examples, row, free[row], negatives)
    rare: Bools = DENSE_SHARE * np.maximum(forbidden, negatives) > tasks.size
    return rare


def _is_heavy(examples: pl.DataFrame, tasks: Tasks, negatives: int, counts: Ints) -> Bools:
    """The same where codes are drawn with odds: for which examples what may not be drawn could have most of the mass.

    An example that is not among them has an item to draw, whatever it drew before.
    """
    most = np.sort(counts)[-negatives:].sum()
    free = counts.sum() - most - tasks.forbidden_mass(np.arange(examples.height), counts)
    heavy: Bools = (DENSE_SHARE * free < counts.sum()) | (free <= 0)
    close = np.flatnonzero(heavy)
    left = np.count_nonzero(counts) - tasks.forbidden_counts(close, counts > 0)
    if (left < negatives).any():
        place = int(np.argmax(left < negatives))
        raise _too_few(examples, int(close[place]), left[place], negatives, "items with an event in training")
    return heavy


def _too_few(examples: pl.DataFrame, row: int, free: int, negatives: int, what: str = "items") -> DataError:
    return DataError(
        f"example {examples[EXAMPLE][row]}: {free} {what} are left to draw from, {negatives} negatives are "
        "wanted; lower candidates.negatives and candidates.train_negatives"
    )


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
