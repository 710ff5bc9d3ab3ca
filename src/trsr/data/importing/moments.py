"""Times of many spellings as seconds since 1970."""

from typing import Literal

import polars as pl

from trsr.data.events import YEAR_9999

_ISO = (
    r"^\s*(?<date>\d{4}-\d\d-\d\d)(?:[Tt ](?<time>\d\d:\d\d)(?<rest>:\d\d(?:\.\d+)?)?"
    r"\s?(?<zone>[Zz]|[+-]\d\d:?\d\d)?)?\s*$"
)
_IN_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}

Unit = Literal["s", "ms", "us"]


def seconds(name: str, kind: pl.DataType, unit: Unit | None = None, form: str | None = None) -> pl.Expr:
    """Column `name` as seconds since 1970 (float), null where it is no time; UTC where no zone is named.

    Dates and datetimes are what they are; numbers, also those written as text, are of `unit` (seconds). Other text is
    read as ISO 8601, all text as `form` where it is given.
    """
    value = pl.col(name)
    if kind.is_temporal():
        return _since_1970(value)
    if kind != pl.String:
        return _number(value, unit)
    if form is not None:
        return _since_1970(value.str.to_datetime(form, time_unit="us", strict=False))
    return pl.coalesce(_number(value, unit), _iso(value))


def whole_seconds(events: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """The events with whole numbers in column `name` if there are no fractions of a second in it."""
    fractions = events.select((pl.col(name) != pl.col(name).round()).any()).collect(engine="streaming").item()
    return events if fractions else events.with_columns(pl.col(name).cast(pl.Int64))


def _number(value: pl.Expr, unit: Unit | None) -> pl.Expr:
    number = value.cast(pl.Float64, strict=False) / _IN_A_SECOND[unit or "s"]
    return pl.when(number.is_finite() & (number >= -YEAR_9999)).then(number)


def _iso(text: pl.Expr) -> pl.Expr:
    parts = text.str.extract_groups(_ISO)
    time = parts.struct.field("time").fill_null("00:00") + parts.struct.field("rest").fill_null(":00")
    local = (parts.struct.field("date") + "T" + time).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
    )
    zone = parts.struct.field("zone").str.replace(":", "", literal=True)
    minutes = zone.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + zone.str.slice(3, 2).cast(pl.Int64, strict=False)
    ahead = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    return _since_1970(local) - ahead * 60


def _since_1970(moment: pl.Expr) -> pl.Expr:
    micro = moment.dt.epoch("us")  # too large for a float in far years
    return micro // 1_000_000 + (micro % 1_000_000) / 1_000_000
