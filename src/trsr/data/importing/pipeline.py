"""Two steps at once: a thread uses one batch while the caller makes the next."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def one_behind(use: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
    """A function that hands a value to `use` in a thread, once the one before it is used; all are used at the end.

    Values are used in order, never two at once. The first is used at once, for most sources have no second. An error
    of `use` is raised where the next value is handed over, or at the end.
    """
    pool: ThreadPoolExecutor | None = None
    under_way: Future[None] | None = None
    first = True

    def hand_over(value: T) -> None:
        nonlocal pool, under_way, first
        if first:
            first = False
            use(value)
            return
        if under_way is not None:
            under_way.result()
        pool = pool or ThreadPoolExecutor(1, thread_name_prefix="import")
        under_way = pool.submit(use, value)

    try:
        yield hand_over
        if under_way is not None:
            under_way.result()
    finally:
        if pool is not None:
            pool.shutdown()
