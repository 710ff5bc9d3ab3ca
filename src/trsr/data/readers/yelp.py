"""Yelp Open Dataset: lines of JSON, of which businesses and reviews are read.

Stars and numbers of reviews of a business are left out: they are counted over all reviews, those to be foretold
among them.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, RATING, TIME, USER
from trsr.data.importing.jsoncolumns import JsonColumns, absent
from trsr.data.importing.jsonlines import JsonLines, first_record, optional_text, optional_texts, required_text
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

_TEXT = pl.String()
_ITEMS = pl.Schema({ITEM: _TEXT, "name": _TEXT, "categories": pl.List(pl.String), "city": _TEXT, "state": _TEXT})
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, RATING: pl.Float64})
_REVIEW: Mapping[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "business_id": pl.String,
    "stars": pl.Float64,
    "date": pl.String,
}


def _recognise(source: Source) -> str:
    businesses, reviews = _found(source)
    return f"{businesses[0].base} and {reviews[0].base}" if businesses and reviews else ""


def _found(source: Source) -> tuple[list[SourceFile], list[SourceFile]]:
    """The files of businesses and of reviews, by their first records."""
    businesses, reviews = [], []
    for file in source.matching("*business*.json", "*review*.json"):
        fields = first_record(file).keys()
        if {"business_id", "name"} <= fields:
            businesses.append(file)
        elif {"user_id", "business_id", "stars", "date"} <= fields:
            reviews.append(file)
    return businesses, reviews


def _layout(source: Source, config: ImportConfig) -> Layout:
    businesses, reviews = _found(source)
    if not businesses or not reviews:
        raise DataError(
            f"{source.path}: Yelp has yelp_academic_dataset_business.json and yelp_academic_dataset_review.json; "
            "give the folder of both, unpacked from the .tar"
        )
    items, events = JsonLines(_business, _ITEMS), JsonColumns(_REVIEW)
    return Layout(
        [
            *(Table(file, items, lambda frame: {ITEMS: frame}, apart=True) for file in businesses),
            *(Table(file, events, _reviews, apart=True) for file in reviews),
        ],
        _ITEMS,
        _EVENTS,
    )


def _business(record: Mapping[str, Any]) -> Mapping[str, Any]:
    categories = record.get("categories")
    if isinstance(categories, str):  # a list until 2018
        split = [name.strip() for name in categories.split(",")]
        categories = [name for name in split if name]
    else:
        categories = optional_texts(record, "categories")
    return {
        ITEM: required_text(record, "business_id"),
        "categories": categories,
        **{name: optional_text(record, name) for name in ("name", "city", "state")},
    }


def _reviews(frame: pl.DataFrame) -> Batches:
    date = pl.col("date").str.strip_chars()
    time = date.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="ms")
    day = date.str.to_date("%Y-%m-%d", strict=False, exact=True).cast(pl.Datetime("ms"))  # all there is until 2018
    frame = frame.with_columns(time.fill_null(day).dt.epoch("s").alias(TIME))
    good, faults = sift(
        frame,
        {
            "no user_id": absent("user_id"),
            "no business_id": absent("business_id"),
            "a date that is not like 2018-07-07 22:09:11": pl.col(TIME).is_null(),
        },
    )
    return {INTERACTIONS: good.rename({"business_id": ITEM, "stars": RATING}).select(*_EVENTS), FAULTY: faults}


READER = Reader("yelp", "Yelp Open Dataset: business and review JSON", _recognise, _layout)
