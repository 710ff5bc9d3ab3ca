"""What summarising takes, and what it has done so far."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from trsr.llm.protocol import Generation


@dataclass(frozen=True)
class Usage:
    """A number of calls, and the tokens that they read and wrote."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @classmethod
    def of(cls, generations: Iterable[Generation]) -> "Usage":
        """What calls took."""
        kept = list(generations)
        return cls(len(kept), sum(one.tokens_in for one in kept), sum(one.tokens_out for one in kept))

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.calls + other.calls, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.calls - other.calls, self.tokens_in - other.tokens_in, self.tokens_out - other.tokens_out)


@dataclass
class SummaryCounts:
    """What a run has done: users finished, calls made and found in the store, and what was wrong with texts.

    A call that several users share is made once and found by all but the first. `faults` are those of single calls;
    `retried` calls were made again with other decoding, and `replaced` texts were of no use then either.
    """

    users: int = 0
    made: Usage = field(default_factory=Usage)
    found: Usage = field(default_factory=Usage)
    faults: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    replaced: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> Usage:
        """The calls that the summaries are made of, whenever they were made."""
        return self.made + self.found
