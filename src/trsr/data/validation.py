"""Checks of the items of a dataset, and those that other tables share: what can be mended is mended and counted.

The rest is a `DataError`. Rows are counted from 1 in messages; `place` is what they name, a file.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from trsr.data.columns import ITEM
from trsr.data.report import CleaningReport
from trsr.errors import ConfigError, DataError


def clean_items(
    frame: pl.DataFrame, wanted: Sequence[str] | None, report: CleaningReport, place: str
) -> tuple[pl.DataFrame, tuple[str, ...], CleaningReport]:
    """Items with unique text ids sorted by id, the names of their attributes, and the report."""
    check_columns(frame.lazy(), [ITEM], place)
    integers = frame.height if check_id_kind(frame.schema[ITEM], ITEM, place) else 0
    frame = frame.with_columns(pl.col(ITEM).cast(pl.String))
    row = first_row(frame, blank_text(pl.col(ITEM)))
    if row:
        raise DataError(f"{place}: row {row}: {ITEM} is empty; give the row an id or delete it")
    attributes = _attributes(frame, wanted, place)
    items, identical = _unique_items(frame.select(ITEM, *attributes), place)
    empty = items.select(pl.all_horizontal(blank_value(name, items.schema[name]) for name in attributes).sum()).item()
    if empty == items.height:
        raise DataError(f"{place}: no item has text in {', '.join(attributes)}; fill at least one attribute")
    report = replace(
        report,
        items=items.height,
        identical_items=identical,
        empty_items=empty,
        integer_ids=report.integer_ids + integers,
    )
    return items.sort(ITEM), attributes, report


def check_columns(table: pl.LazyFrame, columns: Sequence[str], place: str) -> None:
    """`DataError` if `table` lacks one of `columns` or has no rows."""
    names = table.collect_schema().names()
    missing = [name for name in columns if name not in names]
    if missing:
        known = ", ".join(names) or "none"
        raise DataError(f"{place}: column {missing[0]} is missing (columns: {known}); add or rename it")
    if not table.select(pl.len()).collect().item():
        raise DataError(f"{place}: the table has no rows; write at least one")


def check_id_kind(kind: pl.DataType, column: str, place: str) -> bool:
    """Whether ids of this kind are whole numbers; `DataError` if they are not text either."""
    if not kind.is_integer() and kind not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(f"{place}: {column} holds {kind} values; write ids as text or whole numbers")
    return kind.is_integer()


def blank_text(text: pl.Expr) -> pl.Expr:
    """Whether a text is absent or holds nothing but white space."""
    return text.is_null() | (text.str.strip_chars() == "")


def first_row(frame: pl.DataFrame, condition: pl.Expr) -> int:
    """The number, from 1, of the first row where `condition` holds; 0 if there is none."""
    row = frame.select(pl.arg_where(condition).first()).item()
    return 0 if row is None else int(row) + 1


def _attributes(frame: pl.DataFrame, wanted: Sequence[str] | None, place: str) -> tuple[str, ...]:
    known = [name for name in frame.columns if name != ITEM]
    if not known:
        raise DataError(f"{place}: there is no attribute beside {ITEM}; add a column with text, such as title")
    for name in wanted or []:
        if name not in known:
            raise ConfigError(f"data.attributes: {place} has no column {name!r}; known: {', '.join(known)}")
    return tuple(wanted or known)


def _unique_items(frame: pl.DataFrame, place: str) -> tuple[pl.DataFrame, int]:
    if not frame[ITEM].is_duplicated().any():
        return frame, 0
    items = frame.unique(maintain_order=True)
    conflicting = items.filter(pl.col(ITEM).is_duplicated())
    if not conflicting.is_empty():
        item = conflicting[ITEM][0]
        rows = [index + 1 for index, value in enumerate(frame[ITEM]) if value == item]
        raise DataError(
            f"{place}: rows {', '.join(map(str, rows))} describe item {item!r} differently; keep one of them"
        )
    return items, frame.height - items.height


def blank_value(name: str, kind: pl.DataType) -> pl.Expr:
    """Whether an attribute of this kind is absent or says nothing."""
    value = pl.col(name)
    if kind == pl.String:
        return blank_text(value)
    if kind == pl.List:
        return value.is_null() | (value.list.len() == 0)
    return value.is_null()
