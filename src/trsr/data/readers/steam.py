"""Steam (McAuley Lab): games, and reviews with their day, as lines of Python literals or JSON.

A user is named by `username`, the one name that every review has. The files of Australian users are not read: their
items have no times, and many of their reviews no year.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, TIME, USER, WEIGHT
from trsr.data.importing.jsoncolumns import JsonColumns, absent
from trsr.data.importing.jsonlines import JsonLines, first_record, optional_text, optional_texts, required_text
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

_LISTS, _TEXTS = ("genres", "tags", "specs"), ("developer", "publisher", "price", "release_date")
_ITEMS = pl.Schema(
    [
        *((name, pl.String()) for name in (ITEM, "title")),
        *((name, pl.List(pl.String)) for name in _LISTS),
        *((name, pl.String()) for name in _TEXTS),
    ]
)
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, WEIGHT: pl.Float64})
_REVIEW: Mapping[str, type[pl.DataType]] = {
    "username": pl.String,
    "product_id": pl.String,
    "date": pl.String,
    "hours": pl.Float64,
}


def _recognise(source: Source) -> str:
    games, reviews = _found(source)
    return f"{games[0].base} and {reviews[0].base}" if games and reviews else ""


def _found(source: Source) -> tuple[list[SourceFile], list[SourceFile]]:
    """The files of games and of reviews, by their first records."""
    games, reviews = [], []
    for file in source.matching("*steam*.json"):
        fields = first_record(file).keys()
        if {"username", "product_id", "date"} <= fields:
            reviews.append(file)
        elif "app_name" in fields:
            games.append(file)
    return games, reviews


def _layout(source: Source, config: ImportConfig) -> Layout:
    games, reviews = _found(source)
    if not games or not reviews:
        raise DataError(
            f"{source.path}: Steam has steam_games.json and steam_reviews.json or steam_new.json; "
            "give the folder with games and reviews"
        )
    reviews, left = reviews[:1], [file.name for file in reviews[1:]]
    told = f"left out, as {reviews[0].name} holds the same reviews: {', '.join(left)}; to take one, remove the other"
    items, events = JsonLines(_game, _ITEMS, literals=True), JsonColumns(_REVIEW, literals=True)
    return Layout(
        [
            *(Table(file, items, lambda frame: {ITEMS: frame}, apart=True) for file in games),
            *(Table(file, events, _reviews, apart=True) for file in reviews),
        ],
        _ITEMS,
        _EVENTS,
        notes=[told] if left else [],
    )


def _game(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        ITEM: required_text(record, "id"),
        "title": optional_text(record, "title") or optional_text(record, "app_name"),
        **{name: optional_texts(record, name) for name in _LISTS},
        **{name: optional_text(record, name) for name in _TEXTS},
    }


def _reviews(frame: pl.DataFrame) -> Batches:
    day = pl.col("date").str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
    frame = frame.with_columns(day.cast(pl.Datetime("ms")).dt.epoch("s").alias(TIME))
    good, faults = sift(
        frame,
        {
            "no username": absent("username"),
            "no product_id": absent("product_id"),
            "a date that is not like 2017-12-17": pl.col(TIME).is_null(),
        },
    )
    events = good.rename({"username": USER, "product_id": ITEM, "hours": WEIGHT})
    return {INTERACTIONS: events.select(*_EVENTS), FAULTY: faults}


READER = Reader("steam", "Steam: steam_games and steam_reviews or steam_new", _recognise, _layout)
