"""Settings of an import: what is cleaned, what is kept, and how many bad rows are borne."""

import codecs
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from trsr.config.settings import Count, Settings

Moment = Annotated[datetime, AfterValidator(lambda moment: moment if moment.tzinfo else moment.replace(tzinfo=UTC))]


class CleaningConfig(Settings):
    """Which clean-ups of item texts are made; each is counted, and a field of `long_field` characters is too.

    `markup` takes HTML tags out and turns entities into characters, `lists` reads a list that is written as a string,
    `controls` takes out control characters, `spaces` makes one space of every run of white space.
    """

    markup: bool = True
    lists: bool = True
    controls: bool = True
    spaces: bool = True
    long_field: Count = 10_000


class FilterConfig(Settings):
    """Which events are kept, applied in this order.

    `min_rating`: those rated so or higher. `since` and `until`: those at or after, and before, a moment (UTC where it
    names no zone). `repeats`: of several events of one user with one item all, the first or the last. `core`: users
    and items with at least so many events, again and again until all have. `min_history`: users with at least so many.
    """

    min_rating: float | None = None
    since: Moment | None = None
    until: Moment | None = None
    repeats: Literal["keep", "first", "last"] = "keep"
    core: Count | None = None
    min_history: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and not self.since < self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        return self


class ColumnMap(Settings):
    """Which columns of a table are which; `attributes` maps names in prompts to columns, all others if None.

    A time is a date, or seconds since 1970, or what `time_unit` says, or text: ISO 8601, or as `time_format` (in the
    notation of strftime) says. It is UTC where it names no zone.
    """

    user: str | None = None
    item: str
    time: str | None = None
    time_unit: Literal["s", "ms", "us"] | None = None
    time_format: str | None = None
    position: str | None = None
    rating: str | None = None
    weight: str | None = None
    attributes: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_kind_of_time(self) -> Self:
        if self.time_unit is not None and self.time_format is not None:
            raise ValueError("time_unit is for numbers and time_format for text; give one of them")
        return self


class TableConfig(Settings):
    """One table of your own: its file, how it is written, and its columns.

    `file` is the name of the file, or of its folder, or a pattern such as `events-*.csv` for several. `separator` None
    is guessed from the name of the file and its first line.
    """

    file: Annotated[str, Field(min_length=1)]
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quoted: bool = True
    encoding: str = "utf-8"
    columns: ColumnMap

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            name = codecs.lookup(encoding).name
            if "a\n".encode(name) != b"a\n":
                raise ValueError(f"{encoding} does not write a line feed as one byte; write the file as utf-8")
        except LookupError:
            raise ValueError(f"{encoding} is not known; take utf-8, latin-1 or cp1252") from None
        return name


class TablesConfig(Settings):
    """Tables of your own: items, and interactions."""

    items: TableConfig
    interactions: TableConfig

    @model_validator(mode="after")
    def _users(self) -> Self:
        if self.interactions.columns.user is None:
            raise ValueError("interactions.columns: name the column of the user")
        return self


class ImportConfig(Settings):
    """How a source becomes a dataset folder.

    `max_bad` is the share of bad rows of one file above which the import stops. `locale` takes one locale of a source
    that has several. `attributes` takes some of the attributes, in an order of your own; `names` gives them other
    names. `tables` maps the columns of your own tables.
    """

    cleaning: CleaningConfig = CleaningConfig()
    filters: FilterConfig = FilterConfig()
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.05
    locale: str | None = None
    attributes: Annotated[list[str], Field(min_length=1)] | None = None
    names: dict[str, str] = {}
    tables: TablesConfig | None = None
