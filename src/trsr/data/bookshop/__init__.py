"""A synthetic bookshop: books whose text shows what they are about, readers whose hidden taste drifts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from trsr.config import BookshopConfig
from trsr.data.bookshop.catalogue import make_books
from trsr.data.bookshop.oracle import Truth
from trsr.data.bookshop.readers import make_readers
from trsr.errors import ConfigError
from trsr.files import whole_folder


@dataclass(frozen=True)
class Bookshop:
    """A dataset (`items`, `interactions`) and the truth it was made from.

    `items`: item_id, title, author, subjects, description. `interactions`: user_id, item_id, timestamp, by user
    in true order. `item_truth`: item_id, main, secondary, mood, popularity. `reader_truth`: user_id, order,
    lasting, passing, mood.
    """

    items: pl.DataFrame
    interactions: pl.DataFrame
    item_truth: pl.DataFrame
    reader_truth: pl.DataFrame

    @property
    def truth(self) -> Truth:
        """What `oracle_scores` needs."""
        return Truth(self.item_truth, self.reader_truth)


def make_bookshop(config: BookshopConfig) -> Bookshop:
    """The bookshop of `config`; the same config gives the same bookshop."""
    books = make_books(config.books, np.random.default_rng([config.seed, 0]))
    interactions, reader_truth = make_readers(books, config, np.random.default_rng([config.seed, 1]))
    return Bookshop(
        items=books.select("item_id", "title", "author", "subjects", "description"),
        interactions=interactions,
        item_truth=books.select("item_id", "main", "secondary", "mood", "popularity"),
        reader_truth=reader_truth,
    )


def write_bookshop(bookshop: Bookshop, folder: Path) -> None:
    """Write a dataset folder with its truth; it appears whole or not at all.

    Raises `ConfigError` where `folder` exists or cannot be made.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: already exists; name a new folder or remove this one first")
    with whole_folder(folder) as work:
        for name in ("items", "interactions", "item_truth", "reader_truth"):
            getattr(bookshop, name).write_parquet(work / f"{name}.parquet")
