"""Settings of an import: what is cleaned, what is kept, and how many bad rows are borne."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trsr.config.settings import Count, Settings


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
    since: datetime | None = None
    until: datetime | None = None
    repeats: Literal["keep", "first", "last"] = "keep"
    core: Count | None = None
    min_history: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and not self.since < self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        return self


class ColumnMap(Settings):
    """Which columns of a table are which; `attributes` maps names in prompts to columns, all others if None."""

    user: str | None = None
    item: str
    time: str | None = None
    time_format: str | None = None
    position: str | None = None
    rating: str | None = None
    attributes: dict[str, str] | None = None


class TableConfig(Settings):
    """One table of your own: its file, how it is written, and its columns; `separator` None guesses from the name."""

    file: str
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quoted: bool = True
    encoding: str = "utf-8"
    columns: ColumnMap


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
