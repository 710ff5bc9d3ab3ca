"""Amazon-M2 (KDD Cup 2023): sessions of several locales and their products, as CSV or Parquet.

`prev_items` is a list as numpy prints it, `['B09W9FND7K' 'B09JSPLN1M']`, with line feeds where it is long, and in
Parquet a list. `next_item`, where it is given, is the last event of its session. An item is a product in a locale: the
same id is sold, and described, in several. A session has no id and is named by its file and line.
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, POSITION, USER
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.parquet import ParquetRows, parquet_kinds
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import LINE, RowFormat, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.data.validation import blank_text
from trsr.errors import DataError

_ATTRIBUTES = ("title", "brand", "price", "color", "size", "model", "material", "author", "desc")
_NO_PRICE = 40_000_000.07
"""What the files say where a price is not known."""

_ITEMS = pl.Schema({ITEM: pl.String, **dict.fromkeys(_ATTRIBUTES, pl.String), "price": pl.Float64})
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, POSITION: pl.Int64})
_LIST = "prev_items"
_ID = r"[^\[\]'\",\s]+"
_PRINTED = rf"^\['{_ID}'(?:\n? '{_ID}')*\]$"
_ONE = f"^{_ID}$"
"""A list of ids as numpy prints it, which is taken apart quicker than others that are a list."""

_LISTED = r"^\[\s*(?:(?:'[^'\s]+'|\"[^\"\s]+\")\s*,?\s*)*\]$"


def _recognise(source: Source) -> str:
    sessions, products = _sessions(source), _products(source)
    return f"{sessions[0].base} and {products[0].base}" if sessions and products else ""


def _sessions(source: Source) -> list[SourceFile]:
    return source.matching("sessions*.csv", "sessions*.parquet")


def _products(source: Source) -> list[SourceFile]:
    return source.matching("products*.csv", "products*.parquet")


def _layout(source: Source, config: ImportConfig) -> Layout:
    sessions, products = _sessions(source), _products(source)
    if not sessions or not products:
        raise DataError(f"{source.path}: Amazon-M2 has sessions_*.csv and products_*.csv; give the folder of both")
    reads = [
        *(_table(file, ("id", "locale", *_ATTRIBUTES), (), _Products(config.locale)) for file in products),
        *(
            _table(file, ("prev_items", "next_item", "locale"), ("next_item",), _Sessions(name, config.locale))
            for name, file in _named(sessions)
        ),
    ]
    return Layout(reads, _ITEMS, _EVENTS)


def _named(files: Sequence[SourceFile]) -> Iterator[tuple[str, SourceFile]]:
    """The files with names of their own: without folders and ending where that tells them apart."""
    stems = [file.base.rpartition(".")[0] for file in files]
    for stem, file in zip(stems, files, strict=True):
        yield (stem if stems.count(stem) == 1 else file.name), file


def _table(
    file: SourceFile, wanted: tuple[str, ...], optional: tuple[str, ...], convert: Callable[[pl.DataFrame], Batches]
) -> Table:
    return Table(file, _rows(file, wanted, optional), convert, apart=True)


def _rows(file: SourceFile, wanted: tuple[str, ...], optional: tuple[str, ...]) -> RowFormat:
    if file.base.lower().endswith(".parquet"):
        for name, kind in parquet_kinds(file).items():
            is_list = isinstance(kind, pl.List | pl.Array) and not kind.inner.is_nested()
            if name in wanted and (kind.is_temporal() or (kind.is_nested() and not (is_list and name == _LIST))):
                raise DataError(f"{file.place}: column {name} holds {kind}; write text, and {_LIST} as lists of text")
        return ParquetRows(wanted, optional)
    return Delimited(wanted, optional=optional)


class _Products:
    def __init__(self, locale: str | None) -> None:
        self.locale = locale

    def __call__(self, frame: pl.DataFrame) -> Batches:
        frame = frame.with_columns(pl.col("price").cast(pl.Float64, strict=False).alias("number"))
        good, faults = sift(
            frame,
            {
                "no id of the product": blank_text(pl.col("id")),
                "no locale": pl.col("locale").is_null(),
                "a price that is no number": pl.col("price").is_not_null() & pl.col("number").is_null(),
            },
        )
        known = pl.col("number").is_finite() & (pl.col("number") < _NO_PRICE)
        items = _in_locale(good, self.locale).with_columns(
            _item(pl.col("id"), self.locale), pl.when(known).then(pl.col("number")).alias("price")
        )
        return {ITEMS: items.select(LINE, *_ITEMS.names()), FAULTY: faults}


class _Sessions:
    def __init__(self, name: str, locale: str | None) -> None:
        self.name, self.locale = name, locale

    def __call__(self, frame: pl.DataFrame) -> Batches:
        reasons = {"no locale": pl.col("locale").is_null(), "no prev_items": pl.col("prev_items").is_null()}
        kind, printed = frame.schema[_LIST], _is_printed(frame)
        if kind == pl.String and not printed:
            reasons["prev_items that are no list"] = ~pl.col("prev_items").str.contains(_LISTED)
        good, faults = sift(frame, reasons)
        events = _in_locale(good, self.locale).select(
            pl.format("{}-{}", pl.lit(self.name), pl.col(LINE).cast(pl.String).str.zfill(8)).alias(USER),
            "locale",
            (_printed_items() if printed else _all_items(kind)).alias(ITEM),
        )
        events = events.with_columns(pl.int_ranges(pl.col(ITEM).list.len()).alias(POSITION))
        events = events.explode(ITEM, POSITION, empty_as_null=False)
        return {INTERACTIONS: events.select(USER, _item(pl.col(ITEM), self.locale), POSITION), FAULTY: faults}


def _is_printed(frame: pl.DataFrame) -> bool:
    """Whether all lists are as numpy prints them, and all next items one id, if any."""
    if frame.schema[_LIST] != pl.String:
        return False
    return all(
        frame.select(pl.col(_LIST).str.contains(_PRINTED).all(), pl.col("next_item").str.contains(_ONE).all()).row(0)
    )


def _printed_items() -> pl.Expr:
    """What `_all_items` gives, of lists that are as numpy prints them."""
    ids = pl.col(_LIST).str.strip_prefix("['").str.strip_suffix("']").str.replace_all("'\n '", "' '", literal=True)
    return pl.concat_str(ids, "next_item", separator="' '", ignore_nulls=True).str.split("' '")


def _all_items(kind: pl.DataType) -> pl.Expr:
    """The items of a session, the next one last where it is known."""
    if kind == pl.String:
        text = pl.concat_str("prev_items", pl.lit(" "), pl.col("next_item").fill_null(""))
        return text.str.extract_all(_ID)
    return pl.concat_list("prev_items", "next_item").list.drop_nulls()


def _in_locale(frame: pl.DataFrame, locale: str | None) -> pl.DataFrame:
    return frame if locale is None else frame.filter(pl.col("locale") == locale)


def _item(number: pl.Expr, locale: str | None) -> pl.Expr:
    """The id of a product; with its locale where there are several."""
    return (number if locale else pl.format("{}-{}", number, pl.col("locale"))).alias(ITEM)


READER = Reader("amazon-m2", "Amazon-M2: sessions_*.csv and products_*.csv", _recognise, _layout, frozenset({"locale"}))
