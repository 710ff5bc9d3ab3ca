"""Seconds and peak memory of calls that take turns, so that a machine's moods fall on all methods alike.

Peak memory is, on CUDA, the most that PyTorch had allocated during the call; elsewhere the largest resident memory of
the whole process during the call (weights, Python and libraries included), sampled every few milliseconds, after the
allocator has given back what it held.
"""

import ctypes
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from trsr.benchmarks.work import Work

_SECONDS_OF_A_METHOD = 120.0  # rounds end where they would take longer
_WARMING_IS_NOTHING = 10.0  # seconds of a first call that counts as a round, since warming up is little of it
_SAMPLE_SECONDS = 0.005

Value = NDArray[np.float32]
Call = Callable[[], Value]


@dataclass(frozen=True)
class Method:
    """A way to do a task: its name, its work in a call, and `ready`, which gives the next call to be timed.

    What `ready` does (new candidates, a cache filled) is not timed. `note` is a word on how it runs.
    """

    name: str
    work: Work
    ready: Callable[[], Call]
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A method that a case cannot have, and why."""

    reason: str


@dataclass(frozen=True)
class Timing:
    """Median seconds and largest peak of so many calls of a method, in MB (10^6 bytes)."""

    seconds: float
    peak_mb: float
    runs: int


@dataclass(frozen=True)
class Sample:
    """One call: its seconds, its peak memory in MB and what it gave."""

    seconds: float
    peak_mb: float
    value: Value


def sample(method: Method, device: torch.device) -> Sample:
    """Time the next call of a method."""
    call = method.ready()
    values = []
    with PeakMemory(device) as peak:
        seconds = seconds_of(lambda: values.append(call()), device)
    return Sample(seconds, peak.mb, values[0])


def alternate(
    methods: Sequence[Method], firsts: Mapping[str, Sample], repeats: int, device: torch.device
) -> dict[str, Timing]:
    """Time methods by turns, behind a first call of each, in `repeats` rounds.

    Slow methods get fewer rounds, and their first call is one of them: the warming up in it counts for nothing.
    """
    slow = {name for name, first in firsts.items() if first.seconds >= _WARMING_IS_NOTHING}
    taken = {method.name: [firsts[method.name]] if method.name in slow else [] for method in methods}
    for turn in range(1, repeats + 1):
        for method in methods:
            counted = turn == 1 and method.name in slow
            if not counted and turn * firsts[method.name].seconds <= _SECONDS_OF_A_METHOD:
                taken[method.name].append(sample(method, device))
    return {name: _timing(samples) for name, samples in taken.items()}


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - started


class PeakMemory:
    """Measures the peak memory of a block, `mb`, as the module says."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.mb = device, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _trim()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.mb = torch.cuda.max_memory_allocated(self.device) / 1e6
        else:
            self._ended.set()
            self._thread.join()

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self.mb = max(self.mb, process.memory_info().rss / 1e6)
            if self._ended.wait(_SAMPLE_SECONDS):
                return


def _timing(samples: Sequence[Sample]) -> Timing:
    seconds = statistics.median(sample.seconds for sample in samples)
    return Timing(seconds, max(sample.peak_mb for sample in samples), len(samples))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _trim() -> None:
    """Let glibc give free memory back; other allocators do so by themselves."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
