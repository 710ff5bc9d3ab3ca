"""Segmentation: a history cut into consecutive blocks (LLM-TRSR, section on segmentation)."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def segment_by_count(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Consecutive blocks of `size` items, oldest first; the last one may be shorter.

    Blocks are counted from the oldest item, so a new event changes no block but the last.
    """
    return [tuple(items[at : at + size]) for at in range(0, len(items), size)]
