"""The batch size that reads full prompts fastest on this machine, so that no method is measured below its best."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from trsr.benchmarks.cases import Case
from trsr.benchmarks.timing import seconds_of
from trsr.ranking.memory import ran_out, release

SIZES = (4, 8, 21, 64)


class Batching:
    """Measures sizes, and remembers what it found for a length of prompts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._found: dict[tuple[str, int, tuple[int, ...]], int] = {}

    def fastest(self, method: str, case: Case, run: Callable[[int], Any]) -> int:
        """The size of `SIZES` that takes the fewest seconds a prompt; `run` reads one batch of a size.

        Larger ones are not tried behind one that gains nothing or does not fit into memory.
        """
        sizes = tuple(sorted({min(size, case.candidates) for size in SIZES}))
        key = method, case.prompt, sizes
        if key not in self._found:
            self._found[key] = sizes[0] if len(sizes) == 1 else self._measure(sizes, run)
        return self._found[key]

    def _measure(self, sizes: tuple[int, ...], run: Callable[[int], Any]) -> int:
        run(1)  # warms up
        best, shortest = sizes[0], float("inf")
        for size in sizes:
            try:
                share = seconds_of(partial(run, size), self.device) / size
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error) or size == sizes[0]:
                    raise
                release(self.device)
                break
            if share >= shortest:
                break
            best, shortest = size, share
        return best
