"""Users to summarise: the bookshop's readers, what they had before their last block, and very many of them."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from trsr.config import BookshopConfig
from trsr.data.bookshop import make_bookshop, write_bookshop
from trsr.data.columns import ITEM, TIME, USER
from trsr.data.histories import Histories, History

_DAY = 86_400  # seconds


def write_users(folder: Path, users: int) -> Path:
    """The built-in bookshop with so many readers, as a dataset folder."""
    write_bookshop(make_bookshop(BookshopConfig(readers=users)), folder)
    return folder


def blocks_of(history: History, size: int) -> list[tuple[str, ...]]:
    """A history in blocks as it is published."""
    return [history.items[at : at + size] for at in range(0, len(history.items), size)]


def without_last_block(history: History, size: int) -> History:
    """A history as it was before its last block was begun."""
    kept = (len(history.items) - 1) // size * size
    return replace(history, items=history.items[:kept], times=history.times[:kept])


def write_many(folder: Path, histories: Histories, users: int) -> Path:
    """A dataset folder with the histories of another over and over, under new ids."""
    folder.mkdir(parents=True)
    histories.items.write_parquet(folder / "items.parquet")
    known = list(histories)
    rows = [
        (f"user-{number:08}", item, place * _DAY)
        for number in range(users)
        for place, item in enumerate(known[number % len(known)].items)
    ]
    pl.DataFrame(rows, schema=[USER, ITEM, TIME], orient="row").write_parquet(folder / "interactions.parquet")
    return folder
