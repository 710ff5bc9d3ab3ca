"""What is measured: sizes of one user's prompts, and token ids of those sizes, the same for every method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from trsr.ranking.packing import Tokens

GROWTH_CANDIDATES = (2, 5, 10, 21, 50, 100, 200, 500, 1000)
GROWTH_PREFIXES = (200, 400, 800, 1600, 2800, 4000)
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, without their whole parts, spread evenly however many there are
_SEED = 7


@dataclass(frozen=True)
class Case:
    """One user: a prefix of `prefix` tokens and `candidates` suffixes of `suffix` tokens each.

    `ragged` suffixes have half of that to half as much again, and `suffix` on average.
    """

    prefix: int
    suffix: int
    candidates: int
    ragged: bool = False

    def __str__(self) -> str:
        return f"P {self.prefix}, S {self.suffix}{' ragged' if self.ragged else ''}, N {self.candidates}"

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each suffix. Ragged ones come in pairs around the mean, and an odd last one has the mean."""
        if not self.ragged:
            return (self.suffix,) * self.candidates
        steps = ((pair * _GOLDEN) % 1 for pair in range(1, self.candidates // 2 + 1))
        apart = [int(step * (self.suffix // 2 + 1)) for step in steps]
        pairs = [length for away in apart for length in (self.suffix - away, self.suffix + away)]
        return (*pairs, *[self.suffix] * (self.candidates % 2))

    @cached_property
    def order(self) -> list[int]:
        """The candidates by length, longest first."""
        return sorted(range(self.candidates), key=lambda place: -self.lengths[place])

    @property
    def prompt(self) -> int:
        """Tokens of the longest full prompt."""
        return self.prefix + max(self.lengths)

    @property
    def least(self) -> int:
        """Tokens that no exact method can do without."""
        return self.prefix + self.candidates * self.suffix


def grid(prefixes: Sequence[int], suffixes: Sequence[int], candidates: Sequence[int]) -> list[Case]:
    """Every combination of the sizes, in the order given."""
    return [Case(prefix, suffix, count) for prefix in prefixes for suffix in suffixes for count in candidates]


def growth(base: Case) -> list[Case]:
    """The sizes of `base` with candidates growing, then with the prefix growing."""
    wider = [Case(base.prefix, base.suffix, count) for count in GROWTH_CANDIDATES]
    longer = [Case(prefix, base.suffix, base.candidates) for prefix in GROWTH_PREFIXES]
    return [*wider, *(case for case in longer if case not in wider)]


@dataclass(frozen=True)
class Inputs:
    """Random token ids of a case, drawn from `pool`; the same case has the same ids."""

    case: Case
    pool: Tokens

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """Ids of the user's prefix."""
        return self._draw(0, 1, self.case.prefix)[0]

    def suffixes(self, draw: int = 0) -> tuple[tuple[int, ...], ...]:
        """Ids of the candidates; another `draw` is other candidates of the same user."""
        case = self.case
        longest = case.suffix + (case.suffix // 2 if case.ragged else 0)
        drawn = self._draw(draw + 1, case.candidates, longest)
        return tuple(ids[:length] for ids, length in zip(drawn, case.lengths, strict=True))

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """Ids of the full prompts, one for each candidate."""
        return [self.prefix + suffix for suffix in self.suffixes()]

    def first(self, count: int) -> "Inputs":
        """The same user with the first `count` candidates only, an even number where they are ragged."""
        return Inputs(replace(self.case, candidates=min(count, self.case.candidates)), self.pool)

    def _draw(self, stream: int, count: int, length: int) -> tuple[tuple[int, ...], ...]:
        # the number of candidates is no part of the seed, so that fewer of them are the first of more
        random = np.random.default_rng([_SEED, self.case.prefix, self.case.suffix, stream])
        picked = random.integers(0, len(self.pool), (count, length))
        return tuple(tuple(self.pool[place] for place in row) for row in picked.tolist())
