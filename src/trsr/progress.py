"""Progress of long work: a bar with rate and remaining time on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_SECONDS_BETWEEN_LINES = 15.0


class Stage:
    """One piece of long work; `update` is told how much is done and, once known, of how much."""

    def __init__(self, name: str, total: int | None, bar: "RichProgress | None") -> None:
        self.name, self.total, self._bar = name, total, bar
        self._done, self._started = 0, time.monotonic()
        self._first: tuple[int, float] | None = None
        self._told = self._started
        self._task = None if bar is None else bar.add_task(name, total=total, note="", rate="")

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """Show that `done` units are done; `note` is a few words on how it goes."""
        self._done, self.total = done, self.total if total is None else total
        now = time.monotonic()
        self._first = self._first or (done, now)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self.total, note=note, rate=self._rate_text(now))
        elif now - self._told > _SECONDS_BETWEEN_LINES:
            self._told = now
            say(f"  {self.name}: {done}{self._of_total(now)}{', ' + note if note else ''}")

    def advance(self, note: str = "") -> None:
        """One more unit is done."""
        self.update(self._done + 1, note)

    def close(self) -> None:
        """Say in plain lines how long the work took."""
        if self._bar is None:
            say(f"{self.name}: {self._done} in {time.monotonic() - self._started:.1f} s")

    def _rate(self, now: float) -> float | None:
        """Units a second since the first report, None before there is anything to tell."""
        if self._first is None or self._done <= self._first[0]:
            return None
        return (self._done - self._first[0]) / max(now - self._first[1], 1e-9)

    def _rate_text(self, now: float) -> str:
        rate = self._rate(now)
        return "" if rate is None else f"{rate:.2f}/s"

    def _of_total(self, now: float) -> str:
        rate = self._rate(now)
        if not self.total or rate is None:
            return f" of {self.total}" if self.total else ""
        return f" of {self.total}, {self._rate_text(now)}, {(self.total - self._done) / rate:.0f} s left"


@contextmanager
def stage(name: str, total: int | None = None) -> Iterator[Stage]:
    """Show progress of one stage on stderr while the block runs."""
    if not sys.stderr.isatty():
        work = Stage(name, total, None)
        yield work
        work.close()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]} {task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Stage(name, total, bar)


def say(text: str) -> None:
    """One plain line about what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place that talks about progress
