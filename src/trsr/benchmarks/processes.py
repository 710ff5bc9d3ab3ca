"""Work in a process of its own, so that its peak memory is its own and nothing is warm but the files."""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from trsr.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Own(Generic[T]):
    """What the work gave, and the largest resident memory of its process, Python included, in MB (10^6 bytes)."""

    value: T
    peak_mb: float


def in_own_process(work: Callable[..., T], *arguments: Any) -> Own[T]:
    """Call `work` of a module in a new process; its errors are raised here.

    Raises `ConfigError` where the process was killed, which is what systems do that run out of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measured, work, arguments).result()
        except BrokenProcessPool:
            raise ConfigError("bench: a process was killed, most likely for its memory; lower --scale") from None


def _measured(work: Callable[..., T], arguments: tuple[Any, ...]) -> Own[T]:
    value = work(*arguments)
    return Own(value, _peak_bytes() / 1e6)


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says on Linux counts the memory of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
