"""The tables of a store as this version of trsr uses them; `migrations` makes them and changes older ones."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Dialect, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION: Final = 2
VERSION_TABLE: Final = "trsr_version"
KEYS_PER_QUERY: Final = 900  # SQLite builds may limit a statement to 999 variables

T = TypeVar("T")


class NulSafeText(TypeDecorator[str]):
    """Any text in PostgreSQL, whose own cannot hold the character NUL.

    NUL is written as U+001A "0", and U+001A itself, named SUBSTITUTE for such uses, as U+001A "1".
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """What is written for `value`."""
        return value and value.replace("\x1a", "\x1a1").replace("\0", "\x1a0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """The text that was written as `value`."""
        return value and value.replace("\x1a0", "\0").replace("\x1a1", "\x1a")


TEXT = Text().with_variant(NulSafeText(), "postgresql")
LONG = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's INTEGER has 64 bits, and no other type can be a row id

METADATA = MetaData()

CALLS = Table(
    "calls",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("text", TEXT, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("model", TEXT, nullable=False),
    Column("created", LONG, nullable=False),  # Unix seconds
)

# Which users' histories asked for a call, from the moment it is stored: a killed run leaves calls without a profile.
CALL_USERS = Table(
    "call_users",
    METADATA,
    Column("call_key", TEXT, primary_key=True),
    Column("user_id", TEXT, primary_key=True),
    Index("call_users_by_user", "user_id"),
)

PROFILES = Table(
    "profiles",
    METADATA,
    Column("id", LONG, primary_key=True, autoincrement=False),
    Column("user_id", TEXT, nullable=False),
    Column("method", TEXT, nullable=False),
    Column("events", LONG, nullable=False),
    Column("last_item", TEXT),
    Column("last_time", LONG),  # Unix seconds
    Column("inputs", TEXT, nullable=False),
    Column("blocks", TEXT),  # JSON, of the current version only: a long history would be kept over and over
    Column("steps", TEXT),  # the same
    Column("summary", TEXT, nullable=False),
    Column("model", TEXT, nullable=False),
    Column("created", LONG, nullable=False),  # Unix seconds
    Column("replaced", LONG),  # when the next version came, null for the current one
    Index("profiles_by_user", "user_id", "method"),
)
Index(
    "profiles_current",
    PROFILES.c.method,
    PROFILES.c.user_id,
    unique=True,
    sqlite_where=PROFILES.c.replaced.is_(None),
    postgresql_where=PROFILES.c.replaced.is_(None),
)

PROFILE_CALLS = Table(
    "profile_calls",
    METADATA,
    Column("profile_id", LONG, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("call_key", TEXT, nullable=False),
    Index("profile_calls_by_call", "call_key"),
)


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert those of `rows` whose primary key is not taken."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if rows:
        connection.execute(insert(table).on_conflict_do_nothing(), rows)


def in_queries(values: Iterable[T]) -> Iterator[list[T]]:
    """`values` in lists that fit into one query each."""
    rest = iter(values)
    while some := list(islice(rest, KEYS_PER_QUERY)):
        yield some
