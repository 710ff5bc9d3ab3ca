"""How values are spread: quantiles and a histogram in round steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Bar:
    """How many values lie from `low` to `high`, both whole and included."""

    low: int
    high: int
    count: int

    @property
    def label(self) -> str:
        """The range as it stands under the bar."""
        return _short(self.low) if self.low == self.high else f"{_short(self.low)}–{_short(self.high)}"


@dataclass(frozen=True)
class Spread:
    """Whole numbers from zero on: how many, their sum, mean, `QUANTILES` (a value that occurs) and histogram."""

    count: int
    total: int
    mean: float
    quantiles: dict[str, int]
    histogram: list[Bar]


def spread_of(values: Numbers) -> Spread:
    """The spread of whole numbers of at least zero, in any order."""
    if not values.size:
        return Spread(0, 0, 0.0, dict.fromkeys(QUANTILES, 0), [])
    found = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    quantiles = {name: int(value) for name, value in zip(QUANTILES, found, strict=True)}
    total = int(values.sum(dtype=np.int64))
    return Spread(int(values.size), total, total / values.size, quantiles, _histogram(values))


def _histogram(values: Numbers) -> list[Bar]:
    """Bars between round numbers (1, 2 and 5 times powers of ten) from the least to the greatest value."""
    least, greatest = int(values.min()), int(values.max())
    starts = [0, *(factor * 10**power for power in range(len(str(greatest)) + 1) for factor in (1, 2, 5))]
    counts, _ = np.histogram(values, bins=[*starts, starts[-1] * 10])
    bars = [
        Bar(low, after - 1, int(count)) for low, after, count in zip(starts[:-1], starts[1:], counts[:-1], strict=True)
    ]
    return [bar for bar in bars if bar.high >= least and bar.low <= greatest]


def _short(number: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)
