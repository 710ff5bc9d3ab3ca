"""The batch size that reads full prompts fastest on this machine, so that no method is measured below its best."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from trsr.benchmarks.cases import Case
from trsr.benchmarks.timing import PeakMemory, seconds_of
from trsr.llm.memory import free_bytes, ran_out, release

SIZES = (4, 8, 21, 64)
_CHEAP_SECONDS = 5.0  # a batch that takes no longer is timed twice
_TOO_SLOW = 2.0  # times the seconds a prompt of the best size, where larger ones are given up


@dataclass(frozen=True)
class _Tried:
    """Seconds a prompt and peak memory in MB of a size; no number of them is enough where memory ran out."""

    share: float
    peak_mb: float


_RAN_OUT = _Tried(float("inf"), float("inf"))


class Batching:
    """Measures sizes, and remembers what it found for a length of prompts, for any number of candidates."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._tried: dict[tuple[str, int, int, bool], dict[int, _Tried]] = {}
        self._taken: dict[tuple[str, Case], int] = {}

    def fastest(self, method: str, case: Case, run: Callable[[int], Any]) -> int:
        """The size of `SIZES`, or all candidates, that takes the fewest seconds a prompt; `run` reads one batch.

        Larger ones are not tried behind one that takes twice as long a prompt as the best, nor where they would not
        fit into half of the free memory.
        """
        sizes = tuple(sorted({min(size, case.candidates) for size in SIZES}))
        tried = self._tried.setdefault((method, case.prefix, case.suffix, case.ragged), {})
        best = sizes[0] if len(sizes) == 1 else self._measure(tried, sizes, run)
        self._taken[method, case] = best
        return best

    def taken(self, method: str, case: Case) -> int:
        """The size that was found for a case, one where there was none yet."""
        return self._taken.get((method, case), 1)

    def _measure(self, tried: dict[int, _Tried], sizes: tuple[int, ...], run: Callable[[int], Any]) -> int:
        if not tried:
            run(1)  # warms up
            tried[1] = self._time(run, 1)
        best = sizes[0]
        for size in sizes:
            if size != sizes[0] and not self._fits(tried, size):
                break
            if size not in tried:
                tried[size] = self._attempt(run, size, may_fail=size != sizes[0])
            if tried[size].share < tried[best].share:
                best = size
            elif tried[size].share >= _TOO_SLOW * tried[best].share:
                break
        return best

    def _fits(self, tried: dict[int, _Tried], size: int) -> bool:
        """Whether half of the free memory holds a batch of `size`, judged from those that were tried."""
        if size in tried:
            return True
        below = max(found for found in tried if found < size)
        mb_a_prompt = (tried[below].peak_mb - tried[1].peak_mb) / (below - 1)
        return mb_a_prompt * size * 1e6 <= free_bytes(self.device) / 2

    def _attempt(self, run: Callable[[int], Any], size: int, may_fail: bool) -> _Tried:
        try:
            return self._time(run, size)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or not may_fail:
                raise
        release(self.device)
        return _RAN_OUT

    def _time(self, run: Callable[[int], Any], size: int) -> _Tried:
        with PeakMemory(self.device) as peak:
            taken = [seconds_of(partial(run, size), self.device)]
            if taken[0] <= _CHEAP_SECONDS:
                taken.append(seconds_of(partial(run, size), self.device))
        return _Tried(statistics.median(taken) / size, peak.mb)
