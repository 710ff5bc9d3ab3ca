"""What a store needs of a database, and which one a place names."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from trsr.errors import ConfigError

BUSY_SECONDS: Final = 60
LOCK_NUMBER: Final = 0x74727372  # "trsr"


class Database(Protocol):
    """An open database with up-to-date tables.

    One process writes at a time, which is nothing beside an LLM call; others wait up to `BUSY_SECONDS`. Every method
    raises `ConfigError` with `place` and a remedy where the database cannot be used.
    """

    place: str

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection whose single statements each see one state of the store."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that holds the write lock: all of it is stored, or nothing where the block fails."""
        ...

    def erase(self, keys: Collection[str]) -> None:
        """Clear deleted rows, those under `keys` among them, from the files of the database."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


def open_database(place: Path | str) -> Database:
    """The database at `place`: a path or `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/DATABASE`."""
    from trsr.summaries.store.postgres import PostgresDatabase
    from trsr.summaries.store.sqlite import SqliteDatabase

    if isinstance(place, Path) or "://" not in place:
        return SqliteDatabase(Path(place))
    url = _read_url(place)
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database and not url.query:
        return SqliteDatabase(Path(url.database))
    if kind == "postgresql":
        return PostgresDatabase(url)
    known = "give a path, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
    raise ConfigError(f"the summary store's URL of kind {kind} names no store; {known}")


def _read_url(text: str) -> URL:
    """The parts of a URL; messages do not show it, for a part that is in the wrong place may be the password."""
    remedy = "write postgresql://USER:PASSWORD@HOST/DATABASE, and @ : / ? % within a part as %40 %3A %2F %3F %25"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"the summary store's URL cannot be read; {remedy}") from None
    if "@" in f"{url.host}{url.database}" and url.get_backend_name() != "sqlite":
        raise ConfigError(f"the summary store's URL has an @ too many; {remedy}")
    return url
