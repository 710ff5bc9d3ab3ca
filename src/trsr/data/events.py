"""Events of a dataset: one survey of the whole table, then cleaning of all its rows or of those of some users.

Some decisions need every row: which clock orders the events, whether too many items are unknown. The survey takes
them from counts alone, so a table that is cleaned in parts of whole users comes out as if it were cleaned at once.
Rows are counted from 1 in messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER, WEIGHT
from trsr.data.report import CleaningReport
from trsr.data.validation import blank_text, check_columns, check_id_kind
from trsr.errors import ConfigError, DataError

MOMENT = "moment"
"""Internal column: the time of an event in microseconds, so that events within one second keep their order."""

ROW = "row"
UNKNOWN_SHARE = 0.05
MICROSECONDS = 1_000_000
YEAR_9999 = 253_402_300_799


@dataclass(frozen=True, slots=True, eq=False)
class EventSurvey:
    """What the cleaning of any part must know of the whole table.

    `known`: ids of the items. `minimum`: the lowest rating that is kept, if any. `rows`: size of the table. `timed`:
    every event of a known item has a time, which then tells repeats; else the position does. `positioned`: every
    event has a position. `report`: the clean-ups that only the whole table tells. `place`: its name in messages.
    """

    known: pl.Series
    minimum: float | None
    rows: int
    timed: bool
    positioned: bool
    report: CleaningReport
    place: str


@dataclass(frozen=True, slots=True, eq=False)
class CleanEvents:
    """Events of some users without exact repeats and low ratings, and how many rows of either kind were dropped."""

    frame: pl.DataFrame
    exact_repeats: int
    low_ratings: int


def survey_events(
    table: pl.LazyFrame, known: pl.Series, minimum: float | None, report: CleaningReport, place: str
) -> EventSurvey:
    """The survey of `table`, which stays where it is: only counts and the `known` item ids are held in memory.

    Raises `DataError` for a table that cannot be used and `ConfigError` for a `minimum` where nothing is rated.
    """
    check_columns(table, [USER, ITEM], place)
    table = event_columns(table)
    kinds = table.collect_schema()
    typed = _typed(kinds, place)
    is_unknown = ~typed[ITEM].is_in(known.implode())
    counts = _counts(table, kinds, typed, is_unknown)
    _refuse_bad_rows(table, kinds, counts, place)
    ordered_by = _clock(table, kinds, typed, counts, place)
    _refuse_unknown(table, is_unknown, counts, place)
    if minimum is not None and RATING not in kinds:
        raise ConfigError(f"data.min_rating: {place} has no {RATING} column; remove the setting or add the column")
    return EventSurvey(
        known=known,
        minimum=minimum,
        rows=counts["rows"],
        timed=counts["no_time"] == counts["unknown_no_time"],
        positioned=counts["no_position"] == 0,
        report=_whole_table(report, kinds, counts, ordered_by),
        place=place,
    )


def event_columns(table: pl.LazyFrame) -> pl.LazyFrame:
    """The columns of `table` that cleaning reads; a time without values if there is none."""
    names = table.collect_schema().names()
    table = table.select(name for name in (USER, ITEM, TIME, POSITION, RATING, WEIGHT) if name in names)
    return table if TIME in names else table.with_columns(pl.lit(None, pl.Int64).alias(TIME))


def clean_events(part: pl.DataFrame, survey: EventSurvey) -> CleanEvents:
    """All events of some users of the surveyed table: text ids of known items, numbers, `moment`, no exact repeat.

    `position` is there if every event of the table has one; either it or every `moment` is there.
    """
    table = event_columns(part.lazy())
    typed = _typed(table.collect_schema(), survey.place)
    if not survey.positioned:
        table = table.select(pl.exclude(POSITION))
    table = table.with_columns(**typed)
    if survey.report.unknown_items:
        table = table.filter(pl.col(ITEM).is_in(survey.known.implode()))
    frame = table.collect()
    clock = [MOMENT] * survey.timed + [POSITION] * survey.positioned
    if tied_rows(frame, [USER, *clock]) is None:
        frame = frame.sort(USER, *clock)  # which is faster than to look for repeats and ties all over the table
    distinct = _drop_exact_repeats(frame, clock[0])
    kept = distinct if survey.minimum is None else distinct.filter(pl.col(RATING) >= survey.minimum)
    return CleanEvents(kept, frame.height - distinct.height, distinct.height - kept.height)


def tied_rows(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series | None:
    """Which rows have the same values of `columns` as a neighbour; None where the frame is not sorted by these.

    In a sorted frame that are all rows that share their values with another.
    """
    descends, equal = pl.lit(value=False), pl.lit(value=True)
    for name in columns:
        before = pl.col(name).shift()
        descends |= equal & (pl.col(name) < before)
        equal &= pl.col(name) == before
    if frame.select(pl.any_horizontal(pl.col(columns).null_count() > 0) | descends.any()).item():
        return None
    return frame.select((equal | equal.shift(-1)).fill_null(value=False)).to_series()


def nothing_rated(survey: EventSurvey) -> DataError:
    """The error for a table of which no event is left, which `min_rating` alone can bring about."""
    return DataError(f"{survey.place}: no event has a {RATING} of {survey.minimum} or more; lower data.min_rating")


def _typed(kinds: pl.Schema, place: str) -> dict[str, pl.Expr]:
    """How each column is read, with `moment` beside the columns of the table; `DataError` for a wrong kind."""
    typed = {}
    for name in (USER, ITEM):
        check_id_kind(kinds[name], name, place)
        typed[name] = pl.col(name).cast(pl.String)
    for name in (RATING, WEIGHT):
        if name not in kinds:
            continue
        if not (kinds[name].is_numeric() or kinds[name] == pl.Null):
            raise DataError(f"{place}: {name} holds {kinds[name]} values; write numbers")
        typed[name] = pl.col(name).cast(pl.Float64).fill_nan(None)
    moment = _moment(kinds[TIME], place)
    return typed | {MOMENT: moment, TIME: moment // MICROSECONDS}


def _moment(kind: pl.DataType, place: str) -> pl.Expr:
    time = pl.col(TIME)
    if kind.is_float():
        return (time.fill_nan(None) * MICROSECONDS).round().cast(pl.Int64, strict=False)
    if kind.is_integer() or kind == pl.Null:
        return time.cast(pl.Int64, strict=False) * MICROSECONDS
    if kind in (pl.Datetime, pl.Date):
        return time.dt.epoch("us")
    raise DataError(f"{place}: {TIME} holds {kind} values; write whole seconds since 1970 or datetimes")


def _far(kind: pl.DataType) -> pl.Expr:
    """Whether a time is no number of seconds: most likely it counts milliseconds."""
    if not kind.is_numeric():
        return pl.lit(value=False)
    time = pl.col(TIME).fill_nan(None) if kind.is_float() else pl.col(TIME)
    return time.abs() > YEAR_9999


def _counts(table: pl.LazyFrame, kinds: pl.Schema, typed: dict[str, pl.Expr], is_unknown: pl.Expr) -> dict[str, Any]:
    no_time = typed[MOMENT].is_null()
    counts = {
        "rows": pl.len(),
        "no_user": blank_text(typed[USER]).sum(),
        "no_item": blank_text(typed[ITEM]).sum(),
        "far": _far(kinds[TIME]).sum(),
        "no_time": no_time.sum(),
        "no_position": pl.col(POSITION).null_count() if POSITION in kinds else pl.len(),
        "unknown": is_unknown.sum(),
    }
    counted = table.select(**counts).collect(engine="streaming").row(0, named=True)
    if not counted["unknown"]:
        return counted | {"unknown_no_time": 0, "example": None}
    # Polars holds a whole column to filter inside an aggregate; `when` keeps this one to the memory of a batch.
    example = pl.when(is_unknown).then(typed[ITEM]).min()
    of_unknown = table.select(unknown_no_time=(is_unknown & no_time).sum(), example=example)
    return counted | of_unknown.collect(engine="streaming").row(0, named=True)


def _first(table: pl.LazyFrame, condition: pl.Expr) -> dict[str, Any]:
    """The first row for which `condition` holds, with its number from 1 as `row`."""
    rows = table.with_row_index(ROW, offset=1).filter(condition).head(1)
    return rows.collect(engine="streaming").row(0, named=True)


def _refuse_bad_rows(table: pl.LazyFrame, kinds: pl.Schema, counts: dict[str, Any], place: str) -> None:
    for column, missing in ((USER, "no_user"), (ITEM, "no_item")):
        if counts[missing]:
            row = _first(table, blank_text(pl.col(column).cast(pl.String)))[ROW]
            raise DataError(f"{place}: row {row}: {column} is empty; give the row an id or delete it")
    if counts["far"]:
        event = _first(table, _far(kinds[TIME]))
        raise DataError(f"{place}: row {event[ROW]}: {TIME} {event[TIME]} is no time in seconds; divide by 1,000")


def _clock(table: pl.LazyFrame, kinds: pl.Schema, typed: dict[str, pl.Expr], counts: dict[str, Any], place: str) -> str:
    """What orders events: time where every event has it, then position where every event has that."""
    no_time, no_position = counts["no_time"], counts["no_position"]
    if no_position < counts["rows"] and not kinds[POSITION].is_integer():
        raise DataError(f"{place}: {POSITION} holds {kinds[POSITION]} values; write whole numbers")
    if no_time and no_position:
        raise _no_clock(table, typed, counts, place)
    if no_position:
        return "time"
    return "position" if no_time else "time, then position"


def _no_clock(table: pl.LazyFrame, typed: dict[str, pl.Expr], counts: dict[str, Any], place: str) -> DataError:
    remedy = f"add a {TIME} or a whole-number {POSITION} for every event"
    gaps = ((TIME, "no_time", typed[MOMENT].is_null()), (POSITION, "no_position", pl.col(POSITION).is_null()))
    for column, missing, gap in gaps:
        if counts[missing] < counts["rows"]:
            return DataError(f"{place}: row {_first(table, gap)[ROW]}: {column} is empty; {remedy}")
    return DataError(f"{place}: nothing orders the events; {remedy}")


def _refuse_unknown(table: pl.LazyFrame, is_unknown: pl.Expr, counts: dict[str, Any], place: str) -> None:
    """`DataError` if so many items are unknown that something other than a few lost items must be wrong."""
    if counts["unknown"] and counts["unknown"] >= UNKNOWN_SHARE * counts["rows"]:
        event = _first(table, is_unknown)
        raise DataError(
            f"{place}: row {event[ROW]}: item {str(event[ITEM])!r} is not among the items, "
            f"like those of {counts['unknown']:,} rows in {counts['rows']:,}; add the items or fix the ids"
        )


def _whole_table(report: CleaningReport, kinds: pl.Schema, counts: dict[str, Any], ordered_by: str) -> CleaningReport:
    rows, no_time, no_position = counts["rows"], counts["no_time"], counts["no_position"]
    integer_columns = sum(kinds[column].is_integer() for column in (USER, ITEM))
    return replace(
        report,
        integer_ids=report.integer_ids + rows * integer_columns,
        ordered_by=ordered_by,
        missing_times=no_time if no_time < rows else 0,
        missing_positions=no_position if no_position < rows else 0,
        unknown_items=counts["unknown"],
        unknown_example=counts["example"],
    )


def _drop_exact_repeats(frame: pl.DataFrame, clock: str) -> pl.DataFrame:
    """One event per user, item and `clock`: the earliest position, then the highest rating and weight."""
    event = [USER, ITEM, clock]
    tied = tied_rows(frame, [USER, clock])
    if tied is not None and not frame.filter(tied).select(pl.struct(event).is_duplicated()).to_series().any():
        return frame
    repeated = frame.select(pl.struct(event).is_duplicated()).to_series()
    if not repeated.any():
        return frame
    first = [pl.col(POSITION)] if POSITION in frame.columns else []
    first += [-pl.col(name) for name in (RATING, WEIGHT) if name in frame.columns]
    ranked = frame.filter(repeated).sort(*first, MOMENT, nulls_last=True)
    return pl.concat([frame.filter(~repeated), ranked.unique(event, keep="first", maintain_order=True)])
