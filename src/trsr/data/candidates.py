"""Candidate sets: one target beside uniform negatives for every example, and the check of such a file.

Negatives are uniform over the catalogue without the target and without every item of the user's history before
the target. They are drawn for all examples at once: integer codes, drawn again where they are not allowed. Where
rejection would be slow (small catalogues, long histories), a random order of the whole catalogue is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import CANDIDATES, CUT, EXAMPLE, ITEM, LABEL, SOURCE, TARGET, UNIFORM, USER
from trsr.data.reading import read_table
from trsr.data.seeds import generator
from trsr.data.validation import first_row
from trsr.errors import DataError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DENSE_CELLS = 4_000_000
DENSE_SHARE = 4
"""Rejection needs the catalogue to be this many times what is forbidden or drawn for an example."""


def sample_candidates(
    examples: pl.DataFrame, histories: Mapping[str, Sequence[str]], catalogue: Sequence[str], negatives: int, seed: int
) -> pl.DataFrame:
    """The target and `negatives` distinct uniform negatives of every example, in an order drawn from the seed.

    `examples` has `example_id, user_id, cut, item_id`; `histories` all items of each user, oldest first. The rows
    of the result are grouped by example, sorted by id, whatever the order of `examples` and of the catalogue.
    Raises `DataError` if an example has too few items left to draw from.
    """
    examples = examples.sort(EXAMPLE)
    tasks = _Tasks.encode(examples, histories, catalogue)
    rng = generator(seed, "candidates")
    free = tasks.size - tasks.forbidden_counts()
    if (free < negatives).any():
        row = int(np.argmax(free < negatives))
        raise DataError(
            f"example {examples[EXAMPLE][row]}: {free[row]} items are left to draw from, {negatives} negatives are "
            "wanted; lower candidates.negatives and candidates.train_negatives"
        )
    rare = DENSE_SHARE * np.maximum(tasks.size - free, negatives) > tasks.size
    codes = np.empty((examples.height, negatives + 1), dtype=np.int64)
    codes[~rare, :-1] = _draw_by_rejection(tasks, np.flatnonzero(~rare), negatives, rng)
    codes[rare, :-1] = _draw_by_order(tasks, np.flatnonzero(rare), negatives, rng)
    rows = np.arange(examples.height)
    place = rng.integers(negatives + 1, size=examples.height)
    codes[:, -1] = codes[rows, place]
    codes[rows, place] = tasks.target
    label = np.zeros(codes.shape, dtype=np.int8)
    label[rows, place] = 1
    return examples.select(EXAMPLE, USER)[np.repeat(rows, negatives + 1)].with_columns(
        tasks.vocabulary.gather(codes.ravel()).alias(ITEM),
        pl.Series(LABEL, label.ravel()),
        pl.when(pl.Series(label.ravel()) == 1).then(pl.lit(TARGET)).otherwise(pl.lit(UNIFORM)).alias(SOURCE),
    )


@dataclass(frozen=True, eq=False)
class _Tasks:
    """Examples and histories as integers; codes below `size` are the catalogue, codes above are other targets.

    `events` are the items of all users' histories one after another (-1: not in the vocabulary), `start` is where
    the history of an example's user begins in it, `cut` how much of that history the example may know.
    """

    vocabulary: pl.Series
    size: int
    target: Ints
    start: Ints
    cut: Ints
    events: Ints
    keys: Ints
    first: Ints

    @classmethod
    def encode(
        cls, examples: pl.DataFrame, histories: Mapping[str, Sequence[str]], catalogue: Sequence[str]
    ) -> "_Tasks":
        items = pl.Series(ITEM, catalogue, dtype=pl.String).unique().sort()
        others = examples[ITEM].unique().sort()
        vocabulary = pl.concat([items, others.filter(~others.is_in(items.implode()))])
        users = examples[USER].unique().sort().to_list()
        lengths = np.array([len(histories[user]) for user in users], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = _codes(pl.Series(ITEM, [item for user in users for item in histories[user]], pl.String), vocabulary)
        owner = np.repeat(offsets[:-1], lengths)
        known = np.flatnonzero(events >= 0)
        keys, place = np.unique(owner[known] * vocabulary.len() + events[known], return_index=True)
        first = known[place]
        start = offsets[_codes(examples[USER], pl.Series(users, dtype=pl.String))]
        target = _codes(examples[ITEM], vocabulary)
        return cls(
            vocabulary, items.len(), target, start, examples[CUT].to_numpy().astype(np.int64), events, keys, first
        )

    def in_history(self, rows: Ints, codes: Ints) -> Bools:
        """Whether each code, of the example in the same place of `rows`, occurs before that example's cut."""
        if not self.keys.size:
            return np.zeros(codes.shape, dtype=np.bool_)
        wanted = self.start[rows] * self.vocabulary.len() + codes
        at = np.minimum(np.searchsorted(self.keys, wanted), self.keys.size - 1)
        found: Bools = self.keys[at] == wanted
        before: Bools = self.first[at] < self.start[rows] + self.cut[rows]
        return np.logical_and(found, before)

    def forbidden_counts(self) -> Ints:
        """How many items of the catalogue each example must not draw: its distinct history and its target."""
        is_new = np.zeros(self.events.size + 1, dtype=np.int64)
        is_new[self.first[self.events[self.first] < self.size] + 1] = 1
        seen: Ints = np.cumsum(is_new)
        fresh = (self.target < self.size) & ~self.in_history(np.arange(self.target.size), self.target)
        history: Ints = seen[self.start + self.cut] - seen[self.start]
        return history + fresh


def _codes(values: pl.Series, vocabulary: pl.Series) -> Ints:
    table = pl.DataFrame({"value": vocabulary, "code": np.arange(vocabulary.len())})
    found = pl.DataFrame({"value": values}).join(table, on="value", how="left", maintain_order="left")
    return found["code"].fill_null(-1).to_numpy().astype(np.int64)


def _draw_by_rejection(tasks: _Tasks, rows: Ints, negatives: int, rng: np.random.Generator) -> Ints:
    """Distinct allowed codes, one line for each of `rows`: a draw that is not allowed or not new is drawn again."""
    drawn = rng.integers(tasks.size, size=(rows.size, negatives))
    redo = _not_allowed(tasks, np.repeat(rows, negatives), drawn.ravel()).reshape(drawn.shape) | _repeats(drawn)
    while redo.any():
        lines, places = np.nonzero(redo)
        codes = rng.integers(tasks.size, size=lines.size)
        drawn[lines, places] = codes
        redo[lines, places] = _not_allowed(tasks, rows[lines], codes)
        touched = np.unique(lines)
        redo[touched] |= _repeats(drawn[touched])
    return drawn


def _not_allowed(tasks: _Tasks, rows: Ints, codes: Ints) -> Bools:
    is_target: Bools = codes == tasks.target[rows]
    return is_target | tasks.in_history(rows, codes)


def _repeats(drawn: Ints) -> Bools:
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    result = np.zeros(drawn.shape, dtype=np.bool_)
    np.put_along_axis(result, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return result


def _draw_by_order(tasks: _Tasks, rows: Ints, negatives: int, rng: np.random.Generator) -> Ints:
    """The first allowed codes of a random order of the catalogue, one line for each of `rows`."""
    result = np.empty((rows.size, negatives), dtype=np.int64)
    step = max(1, DENSE_CELLS // tasks.vocabulary.len())
    for begin in range(0, rows.size, step):
        part = rows[begin : begin + step]
        ranks = rng.random((part.size, tasks.vocabulary.len()))
        lines = np.repeat(np.arange(part.size), tasks.cut[part])
        steps = np.arange(lines.size) - np.repeat(np.cumsum(tasks.cut[part]) - tasks.cut[part], tasks.cut[part])
        seen = tasks.events[tasks.start[part][lines] + steps]
        ranks[lines[seen >= 0], seen[seen >= 0]] = 2
        ranks[np.arange(part.size), tasks.target[part]] = 2
        ranks[:, tasks.size :] = 2
        result[begin : begin + step] = np.argsort(ranks, axis=1)[:, :negatives]
    return result


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
    row = first_row(frame, pl.col(LABEL).max().over(EXAMPLE) == 0)
    if row:
        raise DataError(f"{place}: row {row}: example {frame[EXAMPLE][row - 1]!r} has no row with {LABEL} 1; add it")
