"""Text of look-alikes: phrases of a few words, drawn once, of which any number of texts is joined without a loop."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

Ints = NDArray[np.int64]

PHRASES = 20_000
MARKED = 0.25
"""Share of phrases that hold a mark."""


class Phrases:
    """Phrases of one language, each of `words` words, some with a mark between two of them."""

    def __init__(self, language: str, words: int, rng: np.random.Generator, marks: str | None = None) -> None:
        spoken = np.array(shlex.split(_written()[language]["words"]))
        between = np.full((PHRASES, words), " ", dtype=object)
        between[:, -1] = ""
        marked = rng.random(PHRASES) < MARKED
        place = rng.integers(max(words - 1, 1), size=PHRASES)
        between[marked, place[marked]] = rng.choice(np.array(_marks(marks), dtype=object), size=int(marked.sum()))
        drawn = rng.choice(spoken, size=(PHRASES, words)).astype(object)
        self._phrases = pl.Series("phrase", (drawn + between).sum(axis=1).tolist(), dtype=pl.String)

    def texts(self, lengths: Ints, rng: np.random.Generator) -> pl.Series:
        """A text of so many phrases each, at least one."""
        most = int(lengths.max(initial=1))
        columns = []
        for place in range(most):
            codes = rng.integers(PHRASES, size=lengths.size, dtype=np.uint32)
            column = pl.Series(f"{place}", codes)
            if place:
                column = column.set(pl.Series(lengths <= place), None)
            columns.append(self._phrases.gather(column).alias(f"{place}"))
        frame = pl.DataFrame(columns)
        return frame.select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True).alias("text")).to_series()


def around(mean: float, size: int, rng: np.random.Generator) -> Ints:
    """Counts of at least one around a mean, most of them near it, some twice as many."""
    return 1 + rng.binomial(round(2 * (mean - 1)), rng.beta(3, 3, size=size))


@cache
def _written() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
    return read


def _marks(name: str | None) -> list[str]:
    marks: list[str] = _written()["en"]["marks"] if name is None else _written()[name]
    return marks
