"""Amazon Reviews 2014, 2018 and 2023 (McAuley Lab): reviews and products of one or more categories.

Lines of JSON, of 2014 also of Python literals; ratings alone are CSV: without header `user,item,rating,time` in 2014
and `item,user,rating,time` in 2018, with one in 2023. Which file is what is told by its first lines. Times are
seconds until 2018 and milliseconds in 2023, where an item is what variants of a product share (`parent_asin`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, RATING, TIME, USER
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.jsoncolumns import JsonColumns, absent
from trsr.data.importing.jsonlines import (
    BadRowError,
    JsonLines,
    first_record,
    optional_number,
    optional_text,
    optional_texts,
    required_text,
)
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import RowFormat, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.errors import DataError

_TEXT, _TEXTS = pl.String(), pl.List(pl.String)
_KINDS = {
    "title": _TEXT,
    "brand": _TEXT,
    "store": _TEXT,
    "main_category": _TEXT,
    "categories": _TEXTS,
    "price": pl.Float64(),
    "price_range": _TEXT,
    "features": _TEXTS,
    "description": _TEXT,
}
_ATTRIBUTES = {
    "2014": ("title", "brand", "categories", "price", "price_range", "description"),
    "2018": ("title", "brand", "categories", "price", "price_range", "features", "description"),
    "2023": ("title", "store", "main_category", "categories", "price", "price_range", "features", "description"),
}
_OF_PRODUCTS = {"title", "category", "categories", "description", "price", "imUrl", "salesRank", "related"}

_PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?")
_LONGEST_PRICE = 40  # what is longer is style sheets, which the files of 2018 have there by mistake

_ASIN = re.compile(r"B[0-9A-Z]{9}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[0-9A-Z]{9,}|#oc-[0-9A-Z]+")
_CATEGORY = re.compile(r"^(?:reviews_|ratings_|meta_)?(.*?)(_\d+)?(\.(?:train|valid|test))?\.\w+$", re.IGNORECASE)
_RATED = ("user", "item", "rating", "time")
_ITEM_FIRST = ("item", "user", "rating", "time")


@dataclass(frozen=True)
class _File:
    """What one file is; `columns` are those of its user, item, rating and time, none where it holds products."""

    file: SourceFile
    release: str
    columns: tuple[str, ...] = ()
    order: tuple[str, ...] | None = None

    @property
    def rows(self) -> RowFormat:
        """How the events of it are told apart."""
        if self.file.base.lower().endswith(".csv"):
            return Delimited(self.columns, self.order)
        user, item, rating, time = self.columns
        return JsonColumns(
            {user: pl.String, item: pl.String, rating: pl.Float64, time: pl.Int64}, literals=self.release != "2023"
        )

    @property
    def category(self) -> str:
        """The category in the name."""
        match = _CATEGORY.match(self.file.base)
        return match[1].lower() if match else self.file.base

    @property
    def rank(self) -> tuple[int, str]:
        """Files of a category with one rank belong together; of several ranks the lowest is the fullest."""
        match = _CATEGORY.match(self.file.base)
        core, part = (match[2], match[3]) if match else (None, None)
        is_csv = self.file.base.lower().endswith(".csv")
        return 2 * is_csv + bool(part if is_csv else core), self.file.folder


def _recognise(source: Source) -> str:
    found = _found(source)
    events = [file for file in found if file.columns]
    products = [file for file in found if not file.columns]
    if not events:
        return ""
    release = (products or events)[0].release
    return f"Amazon Reviews {release}: {' and '.join(file.file.base for file in (*events[:1], *products[:1]))}"


def _found(source: Source) -> list[_File]:
    kinds = (_kind_of(file) for file in source.matching("*.json", "*.jsonl", "*.csv"))
    return [kind for kind in kinds if kind is not None]


def _kind_of(file: SourceFile) -> _File | None:
    return _kind_of_csv(file) if file.base.lower().endswith(".csv") else _kind_of_json(file)


def _kind_of_json(file: SourceFile) -> _File | None:
    fields = first_record(file).keys()
    if {"reviewerID", "asin"} <= fields:
        return _File(file, "2018", ("reviewerID", "asin", "overall", "unixReviewTime"))
    if {"user_id", "parent_asin", "timestamp"} <= fields:
        return _File(file, "2023", ("user_id", "parent_asin", "rating", "timestamp"))
    if "user_id" in fields or not _OF_PRODUCTS & fields:
        return None
    if "parent_asin" in fields:
        return _File(file, "2023")
    if "asin" in fields:
        return _File(file, "2014" if {"categories", "imUrl", "salesRank"} & fields else "2018")
    return None


def _kind_of_csv(file: SourceFile) -> _File | None:
    lines = [line.split(",") for line in file.head().decode(errors="replace").splitlines()[:200]]
    if {"user_id", "parent_asin", "rating", "timestamp"} <= set(lines[0] if lines else ()):
        return _File(file, "2023", ("user_id", "parent_asin", "rating", "timestamp"))
    lines = [line for line in lines if len(line) == 4]
    for release, user, item in (("2014", 0, 1), ("2018", 1, 0)):
        like = sum(bool(_REVIEWER.fullmatch(line[user]) and _ASIN.fullmatch(line[item])) for line in lines)
        if like > len(lines) / 2:
            return _File(file, release, _RATED, _RATED if user == 0 else _ITEM_FIRST)
    return None


def _layout(source: Source, config: ImportConfig) -> Layout:
    found = _found(source)
    products = [file for file in found if not file.columns]
    events, notes = _fullest([file for file in found if file.columns])
    if not products or not events:
        what = "meta_CATEGORY, the products" if events else "the reviews or ratings of a category"
        raise DataError(f"{source.path}: Amazon Reviews without {what}; add that file of the same release")
    if len({file.release == "2023" for file in (*products, *events)}) > 1:
        raise DataError(f"{source.path}: files of 2023 and of an earlier release; give the folder of one")
    release = max(file.release for file in products)
    items = pl.Schema([(ITEM, _TEXT), *((name, _KINDS[name]) for name in _ATTRIBUTES[release])])
    rows = JsonLines(_product("parent_asin" if release == "2023" else "asin", items), items, release != "2023")
    scale = 1000 if release == "2023" else 1
    time = pl.Float64 if scale > 1 else pl.Int64
    return Layout(
        [
            *(Table(file.file, rows, _items, apart=True) for file in products),
            *(Table(file.file, file.rows, _Events(file.columns, scale), apart=True) for file in events),
        ],
        items,
        pl.Schema({USER: pl.String, ITEM: pl.String, TIME: time, RATING: pl.Float64}),
        notes=notes,
    )


def _fullest(events: Sequence[_File]) -> tuple[list[_File], list[str]]:
    """Of each category the fullest files, since the others hold the same reviews again."""
    best: dict[str, tuple[int, str]] = {}
    for file in events:
        best[file.category] = min(best.get(file.category, file.rank), file.rank)
    taken = [file for file in events if file.rank == best[file.category]]
    left = [file.file.name for file in events if file not in taken]
    told = f"left out, as other files hold the same reviews: {', '.join(left)}; to take them, give these files alone"
    return taken, [told] if left else []


def _items(frame: pl.DataFrame) -> Batches:
    return {ITEMS: frame}


def _product(id_field: str, schema: pl.Schema) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    wanted = [(name, _FIELDS[name]) for name in schema if name in _FIELDS]

    def pick(record: Mapping[str, Any]) -> Mapping[str, Any]:
        number, words = _price(record)
        values = {name: value(record) for name, value in wanted}
        return {ITEM: required_text(record, id_field), **values, "price": number, "price_range": words}

    return pick


def _price(record: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """A price that is one number, and one that takes words, such as "$5.00 - $9.00"."""
    value = record.get("price")
    if value is None or isinstance(value, bool):
        return None, None
    if isinstance(value, int | float):
        return optional_number(record, "price"), None
    if not isinstance(value, str):
        raise BadRowError("price is neither a number nor a text")
    text = value.strip()
    match = _PRICE.fullmatch(text)
    if match:
        return float(match[1].replace(",", "") + (match[2] or "")), None
    says = text != "None" and len(text) <= _LONGEST_PRICE and any(map(str.isalnum, text))
    return None, text if says else None


def _category(record: Mapping[str, Any]) -> list[str] | None:
    """Categories without repeats: paths of 2014 share their beginnings."""
    found = optional_texts(record, "category" if "category" in record else "categories")
    return None if found is None else list(dict.fromkeys(found))


def _features(record: Mapping[str, Any]) -> list[str] | None:
    return optional_texts(record, "feature" if "feature" in record else "features")


def _description(record: Mapping[str, Any]) -> str | None:
    value = record.get("description")
    if isinstance(value, list):
        return " ".join(optional_texts(record, "description") or ()) or None
    return optional_text(record, "description")


def _text_of(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda record: optional_text(record, name)


_FIELDS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    **{name: _text_of(name) for name in ("title", "brand", "store", "main_category")},
    "categories": _category,
    "features": _features,
    "description": _description,
}


class _Events:
    """Turns reviews or ratings into events; `scale` is how many of the file's units of time are a second."""

    def __init__(self, columns: tuple[str, ...], scale: int) -> None:
        self.user, self.item, self.rating, self.time = columns
        self.scale = scale

    def __call__(self, frame: pl.DataFrame) -> Batches:
        good, faults = sift(frame, dict(self._reasons(frame)))
        time = self._time / self.scale if self.scale > 1 else self._time
        columns = {USER: pl.col(self.user), ITEM: pl.col(self.item), TIME: time, RATING: self._rating}
        return {INTERACTIONS: good.select(**columns), FAULTY: faults}

    @property
    def _time(self) -> pl.Expr:
        return pl.col(self.time).cast(pl.Int64, strict=False)

    @property
    def _rating(self) -> pl.Expr:
        return pl.col(self.rating).cast(pl.Float64, strict=False)

    def _reasons(self, frame: pl.DataFrame) -> Iterator[tuple[str, pl.Expr]]:
        yield f"no {self.user}", absent(self.user)
        yield f"no {self.item}", absent(self.item)
        yield f"no {self.time}, or one that is no whole number", self._time.is_null()
        if self.scale > 1:
            yield f"a {self.time} that is not in milliseconds", self._time.is_between(1, 10**11)
        else:
            yield f"a {self.time} that is not in seconds", self._time > 10**11
        if frame.schema[self.rating] == pl.String:
            yield f"a {self.rating} that is no number", self._rating.is_null() & ~absent(self.rating)


READER = Reader(
    "amazon-reviews", "Amazon Reviews 2014, 2018, 2023: reviews or ratings, and meta_*", _recognise, _layout
)
