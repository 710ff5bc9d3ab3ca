"""Tables whose columns are named in the settings: what their rows become."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from trsr.config import ColumnMap
from trsr.data.columns import ITEM, POSITION, RATING, TIME, USER, WEIGHT
from trsr.data.events import YEAR_9999
from trsr.data.importing.moments import seconds
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches
from trsr.data.importing.rows import LINE, sift
from trsr.errors import DataError


@dataclass(frozen=True)
class MappedEvents:
    """Turns rows of a table with columns of `kinds` into interactions; `place` is the file's name in messages.

    `DataError` for a column that is missing or cannot be what it is mapped to.
    """

    columns: ColumnMap
    kinds: pl.Schema
    place: str
    wanted: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = self.columns
        wanted = (named.user, named.item, named.time, named.position, named.rating, named.weight)
        object.__setattr__(self, "wanted", tuple(dict.fromkeys(name for name in wanted if name is not None)))
        _check_columns(self.wanted, self.kinds, self.place)
        for name in (named.user, named.item):
            _check_id(name, self.kinds, self.place)
        kind = self.kinds[named.time] if named.time is not None else pl.Date()
        if not (kind.is_numeric() or kind in (pl.String, pl.Date, pl.Datetime)):
            raise DataError(f"{self.place}: column {named.time} holds {kind}; times are dates, numbers or text")
        if named.time_format is not None and kind.is_numeric():
            raise DataError(f"{self.place}: column {named.time} holds {kind}, time_format is for text; take it out")
        for name in (named.position, named.rating, named.weight):
            kind = self.kinds[name] if name is not None else pl.Float64()
            if not (kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null)):
                raise DataError(f"{self.place}: column {name} holds {kind}; write numbers")

    def schema(self) -> pl.Schema:
        """The columns of the interactions; times are seconds with fractions."""
        named, schema = self.columns, pl.Schema({USER: pl.String, ITEM: pl.String})
        for name, column, kind in (
            (TIME, named.time, pl.Float64()),
            (POSITION, named.position, pl.Int64()),
            (RATING, named.rating, pl.Float64()),
            (WEIGHT, named.weight, pl.Float64()),
        ):
            if column is not None:
                schema[name] = kind
        return schema

    def __call__(self, frame: pl.DataFrame) -> Batches:
        """The interactions, and faults for rows without user, item or order and for numbers that are none."""
        named, reasons = self.columns, {}
        values = {USER: _id(named.user or "", self.kinds), ITEM: _id(named.item, self.kinds)}
        reasons["no user"], reasons["no item"] = pl.col(_new(USER)).is_null(), pl.col(_new(ITEM)).is_null()
        ordered = pl.lit(value=False)
        if named.time is not None:
            values[TIME] = seconds(named.time, self.kinds[named.time], named.time_unit, named.time_format)
            reasons["a time that cannot be read"] = _given(named.time, self.kinds) & pl.col(_new(TIME)).is_null()
            reasons["a time beyond the year 9999; where it is in milliseconds, set time_unit: ms"] = (
                pl.col(_new(TIME)) > YEAR_9999
            )
            ordered |= pl.col(_new(TIME)).is_not_null()
        for name, column in ((POSITION, named.position), (RATING, named.rating), (WEIGHT, named.weight)):
            if column is None:
                continue
            number = pl.col(column).cast(pl.Float64, strict=False)
            values[name] = pl.when(number.is_finite()).then(number)
            reasons[f"a {name} that is no number"] = _given(column, self.kinds) & pl.col(_new(name)).is_null()
        if named.position is not None:
            position = pl.col(_new(POSITION))
            reasons["a position that is no whole number"] = position != position.round()
            ordered |= position.is_not_null()
        reasons["neither a time nor a position"] = ~ordered
        read = frame.select(*frame.columns, *(value.alias(_new(name)) for name, value in values.items()))
        good, faults = sift(read, reasons)
        columns = [pl.col(_new(name)).cast(kind).alias(name) for name, kind in self.schema().items()]
        return {INTERACTIONS: good.select(columns), FAULTY: faults}


@dataclass(frozen=True)
class MappedItems:
    """Turns rows of a table with columns of `kinds` into items.

    `attributes` are their names in prompts with their columns, `left_out` the columns that hold what no text can be
    made of. `DataError` for a column that is missing, or named though it holds such.
    """

    columns: ColumnMap
    kinds: pl.Schema
    place: str
    attributes: dict[str, str] = field(init=False)
    left_out: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = self.columns
        ours = {named.item, named.user, named.time, named.position, named.rating, named.weight}
        others = [name for name in self.kinds if name not in ours]
        fit = {name for name in others if name.strip() and name != LINE and _is_attribute(self.kinds[name])}
        taken = named.attributes if named.attributes is not None else {name: name for name in others if name in fit}
        object.__setattr__(self, "attributes", taken)
        left_out = () if named.attributes is not None else tuple(name for name in others if name not in fit)
        object.__setattr__(self, "left_out", left_out)
        _check_columns(self.wanted, self.kinds, self.place)
        _check_id(named.item, self.kinds, self.place)
        for column in taken.values():
            if not _is_attribute(self.kinds[column]):
                raise DataError(f"{self.place}: column {column} holds {self.kinds[column]}; map text, numbers or lists")
        if not taken:
            raise DataError(f"{self.place}: no column beside {named.item} says what an item is; add one with text")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([self.columns.item, *self.attributes.values()]))

    def schema(self) -> pl.Schema:
        """The columns of the items."""
        kinds = {name: _attribute_kind(self.kinds[column]) for name, column in self.attributes.items()}
        return pl.Schema([(ITEM, pl.String()), *kinds.items()])

    def __call__(self, frame: pl.DataFrame) -> Batches:
        """The items, and faults for rows without an id."""
        values = [
            pl.col(column).cast(_attribute_kind(self.kinds[column])).alias(name)
            for name, column in self.attributes.items()
        ]
        good, faults = sift(frame, {"no item": _id(self.columns.item, self.kinds).is_null()})
        return {ITEMS: good.select(LINE, _id(self.columns.item, self.kinds).alias(ITEM), *values), FAULTY: faults}


def _new(name: str) -> str:
    """What a column is called until the rows are sifted; no file has such a name."""
    return f"\0{name}"


def _check_columns(wanted: Sequence[str], kinds: pl.Schema, place: str) -> None:
    for name in wanted:
        if name not in kinds:
            raise DataError(f"{place}: column {name} is missing (columns: {', '.join(kinds)}); map one that is there")
    if LINE in wanted:
        raise DataError(f"{place}: a column named {LINE} cannot be read; rename it")


def _check_id(name: str | None, kinds: pl.Schema, place: str) -> None:
    kind = kinds[name or ""]
    if not (kind.is_numeric() or kind in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(f"{place}: column {name} holds {kind}; ids are text or whole numbers")


def _id(name: str, kinds: pl.Schema) -> pl.Expr:
    """An id as text, null where it is blank or a fraction."""
    value = pl.col(name)
    if kinds[name].is_float():  # what pandas makes of whole numbers where one is missing
        value = pl.when(value == value.round()).then(value.cast(pl.Int64, strict=False))
    text = value.cast(pl.String)
    return pl.when(text.str.strip_chars() != "").then(text)


def _given(name: str, kinds: pl.Schema) -> pl.Expr:
    value = pl.col(name)
    if kinds[name] == pl.String:
        return (value.str.strip_chars() != "").fill_null(value=False)
    if kinds[name].is_float():
        return value.is_not_nan().fill_null(value=False)
    return value.is_not_null()


def _is_attribute(kind: pl.DataType) -> bool:
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    return not (isinstance(inner, pl.DataType) and (inner.is_nested() or inner in (pl.Binary, pl.Object)))


def _attribute_kind(kind: pl.DataType) -> pl.DataType:
    if isinstance(kind, pl.List | pl.Array):
        return pl.List(_attribute_kind(kind.inner)) if isinstance(kind.inner, pl.DataType) else pl.List(pl.String)
    return pl.String() if kind in (pl.Categorical, pl.Enum, pl.Null) else kind
