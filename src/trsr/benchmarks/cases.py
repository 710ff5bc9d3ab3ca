"""What is measured: sizes of one user's prompts, and token ids of those sizes, the same for every method."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trsr.ranking.packing import Tokens

GROWTH_CANDIDATES = (2, 5, 10, 21, 50, 100, 200, 500, 1000)
GROWTH_PREFIXES = (200, 400, 800, 1600, 2800, 4000)
_SEED = 7


@dataclass(frozen=True)
class Case:
    """One user: a prefix of `prefix` tokens and `candidates` suffixes of `suffix` tokens each."""

    prefix: int
    suffix: int
    candidates: int

    def __str__(self) -> str:
        return f"P {self.prefix}, S {self.suffix}, N {self.candidates}"

    @property
    def prompt(self) -> int:
        """Tokens of one full prompt."""
        return self.prefix + self.suffix

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
        return self._draw(draw + 1, self.case.candidates, self.case.suffix)

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """Ids of the full prompts, one for each candidate."""
        return [self.prefix + suffix for suffix in self.suffixes()]

    def first(self, count: int) -> "Inputs":
        """The same user with the first `count` candidates only."""
        return Inputs(Case(self.case.prefix, self.case.suffix, min(count, self.case.candidates)), self.pool)

    def _draw(self, stream: int, count: int, length: int) -> tuple[tuple[int, ...], ...]:
        # the number of candidates is no part of the seed, so that fewer of them are the first of more
        random = np.random.default_rng([_SEED, self.case.prefix, self.case.suffix, stream])
        picked = random.integers(0, len(self.pool), (count, length))
        return tuple(tuple(self.pool[place] for place in row) for row in picked.tolist())
