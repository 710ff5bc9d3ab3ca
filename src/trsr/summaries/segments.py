"""Segmentation: a history cut into consecutive blocks (LLM-TRSR, section on segmentation), by one of three rules.

Blocks are filled from the oldest event on, so a new event changes no block but the last, and a late or corrected one
none before its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from trsr.config import SummaryConfig
from trsr.data.histories import History
from trsr.errors import ConfigError

_HOUR = 3600  # seconds

T = TypeVar("T")


@dataclass(frozen=True)
class Segments:
    """The blocks of item ids that a summary is made of; the last one ends with the user's event number `events`."""

    blocks: tuple[tuple[str, ...], ...]
    events: int


class Segmenter:
    """Cuts histories as `config` says; `tokens_of` gives the tokens of an item's text in a prompt.

    Of a history of more than `max_history` events the oldest blocks are left out, whole ones, so that a new event
    does not move the others.
    """

    def __init__(self, config: SummaryConfig, tokens_of: Callable[[str], int], max_history: int | None = None) -> None:
        self._config, self._tokens_of, self._max_history = config, tokens_of, max_history

    def __call__(self, history: History) -> Segments:
        """The blocks of a history. Raises `ConfigError` where sessions are asked for and an event has no time."""
        config = self._config
        cuts = {"count": self._no_cut, "tokens": self._token_cut, "session": self._session_cut}[config.segments](
            history
        )
        blocks = _fill(history.items, config.block_size, cuts)
        if blocks and config.last_block == "wait" and len(blocks[-1]) < config.block_size:
            blocks.pop()
        events = sum(map(len, blocks))
        return Segments(tuple(self._latest(blocks)), events)

    def _latest(self, blocks: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        if self._max_history is None:
            return blocks
        kept = sum(map(len, blocks))
        first = 0
        while kept > self._max_history and first < len(blocks) - 1:
            kept -= len(blocks[first])
            first += 1
        return [block[-self._max_history :] for block in blocks[first:]]

    def _no_cut(self, history: History) -> Callable[[int, int], bool]:
        return lambda first, place: False

    def _token_cut(self, history: History) -> Callable[[int, int], bool]:
        ends = [0]
        for item in history.items:
            ends.append(ends[-1] + self._tokens_of(item))
        most = self._config.block_tokens or 0
        return lambda first, place: ends[place + 1] - ends[first] > most

    def _session_cut(self, history: History) -> Callable[[int, int], bool]:
        times, gap = history.times, (self._config.session_hours or 0) * _HOUR
        if None in times:
            raise ConfigError(
                f"summaries.segments session: user {history.user!r} has an event without a time; take count or tokens"
            )
        return lambda first, place: (times[place] or 0) - (times[place - 1] or 0) > gap


def _fill(items: Sequence[T], size: int, cut: Callable[[int, int], bool]) -> list[tuple[T, ...]]:
    """Blocks of up to `size`; `cut` says whether the item at a place must not join the block that begins at another."""
    starts = [0] if items else []
    for place in range(1, len(items)):
        if place - starts[-1] == size or cut(starts[-1], place):
            starts.append(place)
    return [tuple(items[start:end]) for start, end in pairwise([*starts, len(items)])]


def segment_by_count(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Consecutive blocks of `size`, oldest first; the last one may be shorter."""
    return [tuple(items[at : at + size]) for at in range(0, len(items), size)]
