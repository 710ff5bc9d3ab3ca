"""Checks of the two frames of a dataset: what can be mended is mended and counted, the rest is a `DataError`.

Rows are counted from 1 in messages. Each function takes a frame, the report so far and the place to name in
messages (a file), and gives back the cleaned frame and the longer report.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER, WEIGHT
from trsr.data.report import CleaningReport
from trsr.errors import ConfigError, DataError

MOMENT = "moment"
"""Internal column: the time of an event in microseconds, so that events within one second keep their order."""

UNKNOWN_SHARE = 0.05
MICROSECONDS = 1_000_000
YEAR_9999 = 253_402_300_799


def clean_items(
    frame: pl.DataFrame, wanted: Sequence[str] | None, report: CleaningReport, place: str
) -> tuple[pl.DataFrame, tuple[str, ...], CleaningReport]:
    """Items with unique text ids sorted by id, the names of their attributes, and the report."""
    _require(frame, [ITEM], place)
    frame, integers = text_ids(frame, ITEM, place)
    attributes = _attributes(frame, wanted, place)
    items, identical = _unique_items(frame.select(ITEM, *attributes), place)
    empty = items.select(pl.all_horizontal(_blank(name, items.schema[name]) for name in attributes).sum()).item()
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


def clean_events(
    frame: pl.DataFrame, items: pl.DataFrame, report: CleaningReport, place: str
) -> tuple[pl.DataFrame, CleaningReport]:
    """Events with text ids of known items, numeric columns, `moment`, and no exact repeat.

    The position column is gone if it cannot order the events; either it or every timestamp is there.
    """
    _require(frame, [USER, ITEM], place)
    frame = frame.select(name for name in (USER, ITEM, TIME, POSITION, RATING, WEIGHT) if name in frame.columns)
    integers = 0
    for column in (USER, ITEM):
        frame, cast = text_ids(frame, column, place)
        integers += cast
    frame = _numbers(frame, place)
    frame = _with_moment(frame, place)
    frame, report = _choose_clock(frame, report, place)
    frame, report = _drop_unknown(frame, items, report, place)
    frame, repeats = _drop_exact_repeats(frame)
    return frame, replace(report, exact_repeats=repeats, integer_ids=report.integer_ids + integers)


def keep_rated(
    frame: pl.DataFrame, minimum: float | None, report: CleaningReport, place: str
) -> tuple[pl.DataFrame, CleaningReport]:
    """Events rated at least `minimum`; `ConfigError` if there is no rating to go by."""
    if minimum is None:
        return frame, report
    if RATING not in frame.columns:
        raise ConfigError(f"data.min_rating: {place} has no {RATING} column; remove the setting or add the column")
    kept = frame.filter(pl.col(RATING) >= minimum)
    if kept.is_empty():
        raise DataError(f"{place}: no event has a {RATING} of {minimum} or more; lower data.min_rating")
    return kept, replace(report, low_ratings=frame.height - kept.height)


def text_ids(frame: pl.DataFrame, column: str, place: str) -> tuple[pl.DataFrame, int]:
    """The frame with `column` as text without gaps, and how many ids were whole numbers before."""
    kind = frame.schema[column]
    integers = frame.height if kind.is_integer() else 0
    if not integers and kind not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(f"{place}: {column} holds {kind} values; write ids as text or whole numbers")
    frame = frame.with_columns(pl.col(column).cast(pl.String))
    row = first_row(frame, pl.col(column).is_null() | (pl.col(column).str.strip_chars() == ""))
    if row:
        raise DataError(f"{place}: row {row}: {column} is empty; give the row an id or delete it")
    return frame, integers


def first_row(frame: pl.DataFrame, condition: pl.Expr) -> int:
    """The number, from 1, of the first row where `condition` holds; 0 if there is none."""
    row = frame.select(pl.arg_where(condition).first()).item()
    return 0 if row is None else int(row) + 1


def _require(frame: pl.DataFrame, columns: Sequence[str], place: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        known = ", ".join(frame.columns) or "none"
        raise DataError(f"{place}: column {missing[0]} is missing (columns: {known}); add or rename it")
    if frame.is_empty():
        raise DataError(f"{place}: the table has no rows; write at least one")


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


def _blank(name: str, kind: pl.DataType) -> pl.Expr:
    value = pl.col(name)
    if kind == pl.String:
        return value.is_null() | (value.str.strip_chars() == "")
    if kind == pl.List:
        return value.is_null() | (value.list.len() == 0)
    return value.is_null()


def _numbers(frame: pl.DataFrame, place: str) -> pl.DataFrame:
    for name in (RATING, WEIGHT):
        if name not in frame.columns:
            continue
        if not (frame.schema[name].is_numeric() or frame.schema[name] == pl.Null):
            raise DataError(f"{place}: {name} holds {frame.schema[name]} values; write numbers")
        frame = frame.with_columns(pl.col(name).cast(pl.Float64).fill_nan(None))
    return frame


def _with_moment(frame: pl.DataFrame, place: str) -> pl.DataFrame:
    if TIME not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Int64).alias(TIME))
    kind, time = frame.schema[TIME], pl.col(TIME)
    if kind.is_float():
        frame = frame.with_columns(time.fill_nan(None))
        moment = (time * MICROSECONDS).round().cast(pl.Int64, strict=False)
    elif kind.is_integer() or kind == pl.Null:
        moment = time.cast(pl.Int64) * MICROSECONDS
    elif kind in (pl.Datetime, pl.Date):
        moment = time.dt.epoch("us")
    else:
        raise DataError(f"{place}: {TIME} holds {kind} values; write whole seconds since 1970 or datetimes")
    if kind.is_numeric():
        row = first_row(frame, time.abs() > YEAR_9999)
        if row:
            raise DataError(f"{place}: row {row}: {TIME} {frame[TIME][row - 1]} is no time in seconds; divide by 1,000")
    return frame.with_columns(moment.alias(MOMENT)).with_columns((pl.col(MOMENT) // MICROSECONDS).alias(TIME))


def _choose_clock(frame: pl.DataFrame, report: CleaningReport, place: str) -> tuple[pl.DataFrame, CleaningReport]:
    """What orders events: time where every event has it, then position where every event has that."""
    if POSITION not in frame.columns or frame[POSITION].null_count() == frame.height:
        frame = frame.select(pl.exclude(POSITION))
    elif not frame.schema[POSITION].is_integer():
        raise DataError(f"{place}: {POSITION} holds {frame.schema[POSITION]} values; write whole numbers")
    no_time = frame[TIME].null_count()
    no_position = frame[POSITION].null_count() if POSITION in frame.columns else frame.height
    if no_time and no_position:
        raise DataError(_no_clock(frame, place))
    if no_position:
        gaps = no_position if POSITION in frame.columns else 0
        return frame.select(pl.exclude(POSITION)), replace(report, ordered_by="time", missing_positions=gaps)
    if no_time:
        some = no_time if no_time < frame.height else 0
        return frame, replace(report, ordered_by="position", missing_times=some)
    return frame, replace(report, ordered_by="time, then position")


def _no_clock(frame: pl.DataFrame, place: str) -> str:
    remedy = f"add a {TIME} or a whole-number {POSITION} for every event"
    if frame[TIME].null_count() < frame.height:
        return f"{place}: row {first_row(frame, pl.col(TIME).is_null())}: {TIME} is empty; {remedy}"
    if POSITION in frame.columns:
        return f"{place}: row {first_row(frame, pl.col(POSITION).is_null())}: {POSITION} is empty; {remedy}"
    return f"{place}: nothing orders the events; {remedy}"


def _drop_unknown(
    frame: pl.DataFrame, items: pl.DataFrame, report: CleaningReport, place: str
) -> tuple[pl.DataFrame, CleaningReport]:
    is_unknown = ~pl.col(ITEM).is_in(items[ITEM].implode())
    unknown = frame.filter(is_unknown)
    if unknown.is_empty():
        return frame, report
    if unknown.height >= UNKNOWN_SHARE * frame.height:
        raise DataError(
            f"{place}: row {first_row(frame, is_unknown)}: item {unknown[ITEM][0]!r} is not among the items, "
            f"like those of {unknown.height:,} rows in {frame.height:,}; add the items or fix the ids"
        )
    example = str(unknown[ITEM].min())
    return frame.filter(~is_unknown), replace(report, unknown_items=unknown.height, unknown_example=example)


def _drop_exact_repeats(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """One event per user, item and moment: the earliest position, then the highest rating and weight."""
    clock = POSITION if frame[TIME].null_count() else MOMENT
    first = [pl.col(POSITION)] if POSITION in frame.columns else []
    first += [-pl.col(name) for name in (RATING, WEIGHT) if name in frame.columns]
    ranked = frame.sort(ITEM, *first, nulls_last=True)
    kept = ranked.unique([USER, ITEM, clock], keep="first", maintain_order=True)
    return kept, frame.height - kept.height
