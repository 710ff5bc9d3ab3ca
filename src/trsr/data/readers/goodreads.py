"""Goodreads (UCSD Book Graph): books, and interactions or reviews, as lines of JSON or as the CSV of all interactions.

Times are when a book was put on a shelf (`date_added`); a rating of 0 is none. The CSV has whole numbers for ids,
which `book_id_map.csv` and `user_id_map.csv` turn into those of the other files, and no times: there the order of its
rows stands for one. Names of authors and titles of series are in files of their own, which may be left out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.jsoncolumns import JsonColumns, absent
from trsr.data.importing.jsonlines import (
    BadRowError,
    JsonLines,
    first_record,
    optional_text,
    optional_texts,
    required_text,
)
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import LINE, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

_TIME = "%a %b %d %H:%M:%S %z %Y"
_TIMED = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, RATING: pl.Float64})
_PLACED = pl.Schema({USER: pl.String, ITEM: pl.String, POSITION: pl.Int64, RATING: pl.Float64})
_EVENT: Mapping[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "book_id": pl.String,
    "rating": pl.Float64,
    "date_added": pl.String,
}
_BOOKS, _INTERACTIONS, _REVIEWS = "goodreads_books", "goodreads_interactions", "goodreads_reviews"
_ENDS = (".json", "_*.json", ".csv")
_SHELVES = 10
_NOT_ABOUT = re.compile(r"to-(?:read|buy|get)|currently-reading|(?:i-)?own(?:ed)?|favou?rites?|default|wish-?list")
"""Shelves that tell what readers do with a book, and nothing about it."""


def _recognise(source: Source) -> str:
    books, events = _files(source, _BOOKS), _event_files(source)
    if not books or not events or "book_id" not in first_record(books[0]):
        return ""
    return f"{books[0].base} and {events[0].base}"


def _files(source: Source, prefix: str) -> list[SourceFile]:
    """The files of one kind: those of the whole data set, or of genres if there are none of it."""
    found = [file for file in source.matching(f"{prefix}.json", f"{prefix}_*.json") if "_spoiler" not in file.base]
    whole = [file for file in found if file.base.lower() in (f"{prefix}.json", f"{prefix}_dedup.json")]
    return whole[:1] or found


def _event_files(source: Source) -> list[SourceFile]:
    """Interactions are all that reviews are and more, and have times other than in the CSV."""
    return _files(source, _INTERACTIONS) or source.matching(f"{_INTERACTIONS}.csv")[:1] or _files(source, _REVIEWS)


def _layout(source: Source, config: ImportConfig) -> Layout:
    books, events = _files(source, _BOOKS), _event_files(source)
    if not books or not events:
        raise DataError(
            f"{source.path}: Goodreads has goodreads_books*.json.gz, and goodreads_interactions*.json.gz, "
            "goodreads_interactions.csv or goodreads_reviews*.json.gz; give the folder of both"
        )
    authors = _Names(source.matching("goodreads_book_authors*.json")[:1], "author_id", "name")
    series = _Names(source.matching("goodreads_book_series*.json")[:1], "series_id", "title")
    picked = _Books(authors, series)
    tables = [*authors.tables, *series.tables]
    tables += [
        Table(file, JsonLines(picked, picked.schema), lambda frame: {ITEMS: frame}, apart=True) for file in books
    ]
    notes = _left_out(source, [*books, *events])
    if not events[0].base.lower().endswith(".csv"):
        tables += [Table(file, JsonColumns(_EVENT), _timed, apart=True) for file in events]
        return Layout(tables, picked.schema, _TIMED, notes=notes)
    coded = _Coded(source)
    tables += [*coded.tables, Table(events[0], Delimited(("user_id", "book_id", "rating")), coded)]
    notes += [f"{events[0].name} has no times: the order of its rows stands for that of the events"]
    return Layout(tables, picked.schema, _PLACED, notes=notes)


def _left_out(source: Source, taken: Sequence[SourceFile]) -> list[str]:
    known = source.matching(*(f"{prefix}{end}" for prefix in (_BOOKS, _INTERACTIONS, _REVIEWS) for end in _ENDS))
    left = [file.name for file in known if file not in taken]
    return [f"left out, as other files hold the same or more: {', '.join(left)}"] if left else []


class _Names:
    """Names by id, from a file that may be absent; `tables` reads it."""

    def __init__(self, files: Sequence[SourceFile], key: str, name: str) -> None:
        self.known: dict[str, str] = {}
        self.key, self.name = key, name
        rows = JsonColumns({key: pl.String, name: pl.String})
        self.tables = [Table(file, rows, self._learn) for file in files]

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _learn(self, frame: pl.DataFrame) -> Batches:
        good, faults = sift(frame, {f"no {self.key}": absent(self.key), f"no {self.name}": absent(self.name)})
        self.known.update(good.select(self.key, self.name).iter_rows())
        return {FAULTY: faults}

    def of(self, keys: Sequence[str]) -> list[str]:
        """The names of those keys that are known, without repeats."""
        return list(dict.fromkeys(self.known[key] for key in keys if key in self.known))


class _Books:
    """Picks what is wanted of a book; authors and series only where there are files with their names."""

    def __init__(self, authors: _Names, series: _Names) -> None:
        self.authors, self.series = authors, series
        kinds: dict[str, pl.DataType] = {ITEM: pl.String(), "title": pl.String()}
        if authors:
            kinds["authors"] = pl.List(pl.String)
        if series:
            kinds["series"] = pl.List(pl.String)
        kinds |= {"publication_year": pl.String(), "shelves": pl.List(pl.String), "description": pl.String()}
        self.schema = pl.Schema(kinds)

    def __call__(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            ITEM: required_text(record, "book_id"),
            "title": optional_text(record, "title"),
            "authors": self.authors.of(_fields(record, "authors", "author_id")) if self.authors else None,
            "series": self.series.of(optional_texts(record, "series") or ()) if self.series else None,
            "publication_year": optional_text(record, "publication_year"),
            "shelves": _shelves(record),
            "description": optional_text(record, "description"),
        }


def _fields(record: Mapping[str, Any], name: str, field: str) -> list[str]:
    """One field of each object in a list."""
    listed = record.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise BadRowError(f"{name} is no list of objects")
    return [str(entry[field]) for entry in listed if entry.get(field)]


def _shelves(record: Mapping[str, Any]) -> list[str]:
    """The shelves that most readers put the book on, most frequent first, as in the file."""
    names = _fields(record, "popular_shelves", "name")
    return [name for name in names if not _NOT_ABOUT.fullmatch(name)][:_SHELVES]


def _rating(kind: Callable[[pl.Expr], pl.Expr] = lambda column: column) -> pl.Expr:
    rating = kind(pl.col("rating"))
    return pl.when(rating != 0).then(rating).alias(RATING)


def _timed(frame: pl.DataFrame) -> Batches:
    time = pl.col("date_added").str.to_datetime(_TIME, strict=False, time_unit="ms")
    good, faults = sift(
        frame.with_columns(time.dt.epoch("s").alias(TIME)),
        {
            "no user_id": absent("user_id"),
            "no book_id": absent("book_id"),
            "a date_added that is not like Thu Mar 22 15:43:02 -0700 2012": pl.col(TIME).is_null(),
        },
    )
    return {
        INTERACTIONS: good.select(pl.col("user_id").alias(USER), pl.col("book_id").alias(ITEM), TIME, _rating()),
        FAULTY: faults,
    }


class _Coded:
    """Turns rows of the CSV into events, once its `tables` have read which id each whole number stands for."""

    def __init__(self, source: Source) -> None:
        books, users = source.matching("book_id_map.csv")[:1], source.matching("user_id_map.csv")[:1]
        if not books:
            raise DataError(
                f"{source.path}: {_INTERACTIONS}.csv without book_id_map.csv, which says what its ids are; add it"
            )
        self.parts: dict[str, list[pl.DataFrame]] = {"book_id": [], "user_id": []}
        self.tables = [self._map(file, "book_id") for file in books] + [self._map(file, "user_id") for file in users]
        self.named = ["book_id", "user_id"] if users else ["book_id"]

    def _map(self, file: SourceFile, name: str) -> Table:
        def learn(frame: pl.DataFrame) -> Batches:
            good, faults = sift(frame, {f"no {name}": absent(f"{name}_csv") | absent(name)})
            self.parts[name].append(good.select(pl.col(f"{name}_csv").alias(name), pl.col(name).alias(f"own_{name}")))
            return {FAULTY: faults}

        return Table(file, Delimited((f"{name}_csv", name)), learn)

    def __call__(self, frame: pl.DataFrame) -> Batches:
        reasons = {"no user_id": absent("user_id"), "no book_id": absent("book_id")}
        for name in self.named:
            self.parts[name] = [pl.concat(self.parts[name])] if self.parts[name] else []
            frame = frame.join(self.parts[name][0], on=name, how="left", maintain_order="left")
            reasons[f"a {name} that {name}_map.csv does not have"] = pl.col(f"own_{name}").is_null()
        number = pl.col("rating").cast(pl.Float64, strict=False)
        reasons["a rating that is no number"] = number.is_null() & ~absent("rating")
        good, faults = sift(frame, reasons)
        user = pl.col("own_user_id" if "user_id" in self.named else "user_id").alias(USER)
        rating = _rating(lambda column: column.cast(pl.Float64))
        place = pl.col(LINE).alias(POSITION)
        return {INTERACTIONS: good.select(user, pl.col("own_book_id").alias(ITEM), place, rating), FAULTY: faults}


READER = Reader("goodreads", "Goodreads (UCSD): goodreads_books* and interactions or reviews", _recognise, _layout)
