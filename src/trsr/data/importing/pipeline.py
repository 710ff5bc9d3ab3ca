"""Several steps at once on values that are used in the order they come in."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")

_AT_ONCE = 2


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


@contextmanager
def some_at_once(make: Callable[[S], T], use: Callable[[T], None]) -> Iterator[Callable[[S], None]]:
    """A function that has `make` work on a value in a thread, beside others, and hands what it made to `use`, in order.

    `make` must not touch what is shared. `use` is called by whoever hands over the next values, and at the end, never
    twice at once. The first value is made and used as it is handed over. An error of either is raised there, where a
    later value is handed over, or at the end.
    """
    pool: ThreadPoolExecutor | None = None
    under_way: deque[Future[T]] = deque()
    first = True

    def hand_over(value: S) -> None:
        nonlocal pool, first
        if first:
            first = False
            use(make(value))
            return
        pool = pool or ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="import")
        under_way.append(pool.submit(make, value))
        while len(under_way) > _AT_ONCE or (under_way and under_way[0].done()):
            use(under_way.popleft().result())

    try:
        yield hand_over
        while under_way:
            use(under_way.popleft().result())
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
