"""What a reader of one format is, and how the one for a source is found.

A reader is a module with a `READER`: how it recognises a source, and the layout of one: its tables, and what each of
their rows becomes. Packages add readers of their own through the entry point group `trsr.readers`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

import polars as pl

from trsr.config import ImportConfig
from trsr.data.importing.rows import RowFormat
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import ConfigError, DataError

ITEMS, INTERACTIONS, IMPRESSIONS, FAULTY = "items", "interactions", "impressions", "faults"

AUTO = "auto"
GROUP = "trsr.readers"
_BUILT_IN = (
    "dataset_folder",
    "mind",
    "amazon_m2",
    "amazon18_splits",
    "amazon_reviews",
    "movielens",
    "goodreads",
    "yelp",
    "steam",
    "recbole",
    "huggingface",
    "own_tables",
)

Batches = Mapping[str, pl.DataFrame]
"""Frames by what they are: items, interactions, impressions, and faults (see `rows.FAULTS`) for rows that are bad."""


@dataclass(frozen=True)
class Table:
    """One file: how its rows are told apart, and what `convert` makes of a frame of them with their `line`.

    Frames of items keep the `line`, so that an item that is there twice can be named; other frames need none.
    `apart`: `convert` keeps nothing of a frame for the next and changes nothing outside of itself, so that several are
    converted at once, in threads; otherwise it gets them one by one, in order.
    """

    file: SourceFile
    rows: RowFormat
    convert: Callable[[pl.DataFrame], Batches]
    apart: bool = False


@dataclass(frozen=True)
class Layout:
    """What a source holds.

    `items` and `interactions` are the columns that `convert` gives, `impressions` too where there are any. `arrange`,
    where given, makes the final interactions of all that `convert` gave; `rest`, where given, those that are known only
    when all tables are read. `notes` are sentences about what was left out or decided.
    """

    tables: Sequence[Table]
    items: pl.Schema
    interactions: pl.Schema
    impressions: pl.Schema | None = None
    arrange: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None
    rest: Callable[[], Iterable[pl.DataFrame]] | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Reader:
    """One format.

    `recognise` says in a few words why a source is of it, "" if it is not; `layout` may raise `DataError` for a file
    that is missing. `options` are the names of the settings that it follows.
    """

    name: str
    about: str
    recognise: Callable[[Source], str]
    layout: Callable[[Source, ImportConfig], Layout]
    options: frozenset[str] = field(default=frozenset())


@cache
def readers() -> Mapping[str, Reader]:
    """All readers by name, those of other packages behind ours. Raises `ConfigError` for one that cannot be loaded."""
    found: dict[str, Reader] = {}
    for module in _BUILT_IN:
        reader = import_module(f"trsr.data.readers.{module}").READER
        found[reader.name] = reader
    for point in entry_points(group=GROUP):
        try:
            reader = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"reader {point.name} of {point.value}: cannot be loaded ({error}); mend it") from None
        if not isinstance(reader, Reader):
            raise ConfigError(f"reader {point.name}: {point.value} is no Reader; name the reader itself")
        found[reader.name] = reader
    return found


def choose_reader(format_name: str, source: Source) -> tuple[Reader, str]:
    """The reader of a name, or with "auto" the first that recognises `source`, and what it was told by."""
    known = readers()
    if format_name != AUTO:
        if format_name not in known:
            raise ConfigError(f"format {format_name}: unknown; take {AUTO}, {', '.join(known)}")
        return known[format_name], "named"
    for reader in known.values():
        reason = reader.recognise(source)
        if reason:
            return reader, reason
    seen = ", ".join(file.name for file in source.files[:5])
    raise DataError(f"{source.path}: no known format ({seen}); name one of {', '.join(known)}, or map your columns")
