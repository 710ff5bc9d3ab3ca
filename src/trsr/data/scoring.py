"""What every scorer takes and gives: the LLM ranker, the baselines and whatever is compared with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class RankingRequest:
    """One example to rank: its user, the user's history (item ids, oldest first) and the candidates."""

    example_id: str
    user_id: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]


class Scorer(Protocol):
    """Scores candidates; higher is better. Yields one fp32 array per request, in order."""

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Scores (n candidates,) for each request."""
        ...
