"""Draws negatives for all examples at once, as integer codes: never a target or an item of the history.

Draws are uniform, or have the odds of a table of counts. A draw that is not allowed or not new is drawn again. Whether
it is in the history is first asked of a coarse table, which says no for nearly all draws and never where the answer is
yes, and only then of the history itself. Where drawing again would be slow (small catalogues, long histories), a random
order of the whole catalogue is drawn instead. Both ways draw one negative after another without replacement.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.data.columns import CUT, ITEM, ORDER, USER

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

CELLS = 4_000_000
"""At most as many history items, or ranks of items, are held for some examples at once, more where one has more."""

DENSE_SHARE = 4
"""Rejection needs the catalogue to be this many times what is forbidden or drawn for an example."""

_PLACES = 16  # of the coarse table for an event; so many draws in one are asked of the history in vain
_MIXER = np.uint32(2_654_435_769)  # an odd number near 2**32 over the golden ratio spreads neighbours over the table


@dataclass(frozen=True, eq=False)
class Tasks:
    """Examples and histories as integers; codes below `size` are the catalogue, codes above are other targets.

    `events` are the items of users' histories one after another (-1: not in the catalogue), `start` is where the
    history of an example's user begins in it, `cut` how much of that history the example may know.
    """

    vocabulary: pl.Series
    size: int
    target: Codes
    start: Ints
    cut: Ints
    events: Codes

    @classmethod
    def encode(cls, examples: pl.DataFrame, events: pl.DataFrame, catalogue: pl.Series) -> "Tasks":
        """`events` as `Dataset.interactions`: sorted by user and `order`. Raises KeyError for a user without any."""
        items = catalogue if (catalogue[1:] > catalogue[:-1]).all() else catalogue.unique().sort()
        code = _code_in(items)
        target = _codes(examples[ITEM], code)
        others = examples[ITEM].filter(pl.Series(target < 0)).unique().sort()
        target[target < 0] = items.len() + _places(examples[ITEM].filter(pl.Series(target < 0)), others)
        begins = np.flatnonzero(events[ORDER].to_numpy() == 0)
        owner = _places(examples[USER], events[USER].gather(begins))
        cut = examples[CUT].to_numpy().astype(np.int64)
        longest = np.zeros(begins.size, dtype=np.int64)
        np.maximum.at(longest, owner, cut)
        start = (np.cumsum(longest) - longest)[owner]
        known = _within(begins, longest, events.height)
        return cls(pl.concat([items, others]), items.len(), target, start, cut, _codes(events[ITEM], code, known))

    def in_history(self, rows: Ints, codes: Codes) -> Bools:
        """Whether each code, of the example in the same place of `rows`, occurs before that example's cut."""
        found = np.zeros(rows.size, dtype=np.bool_)
        for part in _parts(self.cut[rows]):
            lines, items = self.known(rows[part])
            hits = lines[items == codes[part][lines]]
            found[part.start + hits] = True
        return found

    def may_be_in_history(self, rows: Ints, codes: Codes) -> Bools:
        """The same for a line of codes for each of `rows`; true also for a few codes that do not occur."""
        found = np.empty(codes.shape, dtype=np.bool_)
        for part in _parts(self.cut[rows]):
            lines, items = self.known(rows[part])
            widths = (_PLACES * self.cut[rows[part]]).astype(np.uint64)
            begins = np.cumsum(widths, dtype=np.int64) - widths.astype(np.int64)
            table = np.zeros(int(widths.sum()) + 1, dtype=np.bool_)
            table[begins[lines] + _place(items, widths[lines])] = True
            found[part] = table[begins[:, None] + _place(codes[part], widths[:, None])]
            found[part][widths == 0] = False
        return found

    def forbidden_counts(self, rows: Ints, among: Bools | None = None) -> Ints:
        """How many items of the catalogue, or of those `among` it, are forbidden to each of `rows`, each counted once.

        Forbidden are the history and the target.
        """
        counts = np.zeros(rows.size, dtype=np.int64)
        for part in _parts(self.cut[rows] + 1):
            lines, items = self.known(rows[part])
            targets = self.target[rows[part]]
            lines = np.concatenate([lines, np.arange(targets.size)])
            items = np.concatenate([items, targets])
            counted = (items >= 0) & (items < self.size)
            if among is not None:
                counted[counted] = among[items[counted]]
            pairs = np.unique(lines[counted] * self.size + items[counted])
            counts[part] = np.bincount(pairs // self.size, minlength=targets.size)
        return counts

    def forbidden_mass(self, rows: Ints, counts: Ints) -> Ints:
        """The sum of `counts` over what is forbidden to each of `rows`; a repeated item of the history adds again."""
        padded = np.append(counts, np.zeros(self.vocabulary.len() - self.size + 1, np.int64))  # the last one is for -1
        mass = padded[self.target[rows]]
        for part in _parts(self.cut[rows]):
            lines, items = self.known(rows[part])
            np.add.at(mass[part], lines, padded[items])
        return mass

    def allowed(self, rows: Ints) -> Bools:
        """Which items of the catalogue may stand beside the target of each of `rows`: (rows, catalogue)."""
        allowed = np.ones((rows.size, self.vocabulary.len()), np.bool_)
        lines, seen = self.known(rows)
        allowed[lines[seen >= 0], seen[seen >= 0]] = False
        allowed[np.arange(rows.size), self.target[rows]] = False
        return allowed[:, : self.size]

    def known(self, rows: Ints) -> tuple[Ints, Codes]:
        """The histories of some examples one after another: the place in `rows` that each item belongs to, and it."""
        cut = self.cut[rows]
        lines = np.repeat(np.arange(rows.size), cut)
        before = np.cumsum(cut) - cut
        return lines, self.events[np.arange(lines.size) + (self.start[rows] - before)[lines]]


def draw_by_rejection(
    tasks: Tasks, rows: Ints, negatives: int, rng: np.random.Generator, counts: Ints | None = None
) -> Codes:
    """Distinct allowed codes, one line for each of `rows`: a draw that is not allowed or not new is drawn again.

    With `counts`, one for each item of the catalogue, they are the odds of a draw.
    """
    draw = _uniform(tasks.size, rng) if counts is None else _weighted(counts, rng)
    drawn = draw((rows.size, negatives))
    redo = tasks.may_be_in_history(rows, drawn)
    lines, places = np.nonzero(redo)
    redo[lines, places] = tasks.in_history(rows[lines], drawn[lines, places])
    redo |= (drawn == tasks.target[rows][:, None]) | _repeats(drawn)
    while redo.any():
        lines, places = np.nonzero(redo)
        codes = draw((lines.size,))
        drawn[lines, places] = codes
        redo[lines, places] = (codes == tasks.target[rows[lines]]) | tasks.in_history(rows[lines], codes)
        touched = np.unique(lines)
        redo[touched] |= _repeats(drawn[touched])
    return drawn


def draw_by_order(
    tasks: Tasks, rows: Ints, negatives: int, rng: np.random.Generator, counts: Ints | None = None
) -> Codes:
    """The first allowed codes of a random order of the catalogue, one line for each of `rows`.

    With `counts`, exponential variates over the counts order it, which is to draw with these odds one after another
    (Efraimidis and Spirakis, Information Processing Letters 2006); every line needs enough items with a count.
    """
    result = np.empty((rows.size, negatives), dtype=np.int32)
    step = max(1, CELLS // tasks.vocabulary.len())
    for begin in range(0, rows.size, step):
        part = rows[begin : begin + step]
        if counts is None:
            ranks = rng.random((part.size, tasks.vocabulary.len()))
        else:
            ranks = np.full((part.size, tasks.vocabulary.len()), np.inf)
            ranks[:, np.flatnonzero(counts)] = rng.standard_exponential((part.size, np.count_nonzero(counts)))
            ranks[:, np.flatnonzero(counts)] /= counts[counts > 0]
        ranks[:, : tasks.size][~tasks.allowed(part)] = np.inf
        ranks[:, tasks.size :] = np.inf
        result[begin : begin + step] = np.argsort(ranks, axis=1)[:, :negatives]
    return result


def _uniform(size: int, rng: np.random.Generator) -> Callable[[tuple[int, ...]], Codes]:
    return lambda shape: rng.integers(size, size=shape, dtype=np.int32)


def _weighted(counts: Ints, rng: np.random.Generator) -> Callable[[tuple[int, ...]], Codes]:
    """Draws of codes with the odds of whole counts, without rounding."""
    bounds = np.cumsum(counts)

    def draw(shape: tuple[int, ...]) -> Codes:
        return np.searchsorted(bounds, rng.integers(bounds[-1], size=shape), side="right").astype(np.int32)

    return draw


def _places(values: pl.Series, among: pl.Series) -> Ints:
    """The place of each value in a sorted series; KeyError where it is not there."""
    places = among.search_sorted(values).to_numpy().astype(np.int64)
    found = among.gather(np.minimum(places, among.len() - 1)) == values if among.len() else pl.Series([False])
    if values.len() and not found.all():
        raise KeyError(values.filter(~found)[0])
    return places


def _code_in(items: pl.Series) -> pl.Expr:
    """The code of a `value` among sorted items, -1 for none; made once, for a large Enum is slow to pass."""
    return pl.col("value").cast(pl.Enum(items), strict=False).to_physical().cast(pl.Int32).fill_null(-1)


def _codes(values: pl.Series, code: pl.Expr, kept: pl.Series | None = None) -> Codes:
    """The code of each value, or of those that are `kept`."""
    table = values.to_frame("value").lazy()
    if kept is not None:
        table = table.filter(kept)
    return table.select(code).collect(engine="streaming").to_series().to_numpy().astype(np.int32)


def _within(begins: Ints, lengths: Ints, rows: int) -> pl.Series:
    """Which rows are the first so many from each beginning; the next stretch never begins before one ends."""
    steps = np.zeros(rows + 1, dtype=np.int8)
    some = lengths > 0
    steps[begins[some]] += 1
    np.subtract.at(steps, begins[some] + lengths[some], 1)
    return pl.Series(np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_))


def _parts(lengths: Ints) -> Iterator[slice]:
    """Runs of examples with about `CELLS` items together."""
    if not lengths.size:
        return
    number = np.cumsum(lengths) // CELLS
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), lengths.size]
    for begin, end in pairwise(edges):
        yield slice(begin, end)


def _place(codes: Codes, widths: npt.NDArray[np.uint64]) -> Ints:
    """A place below the width for each code: its mixed bits as a share of the width."""
    mixed = (codes.view(np.uint32) * _MIXER).astype(np.uint64)
    return ((mixed * widths) >> np.uint64(32)).view(np.int64)


def _repeats(drawn: Codes) -> Bools:
    """Which codes stand further left in their line already."""
    result = np.zeros(drawn.shape, dtype=np.bool_)
    ordered = np.sort(drawn, axis=1)
    lines = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    order = np.argsort(drawn[lines], axis=1, kind="stable")
    ordered = np.take_along_axis(drawn[lines], order, axis=1)
    again = np.zeros(order.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    result[lines] = again
    return result
