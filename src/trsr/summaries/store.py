"""The store of LLM calls: every text a summariser wrote, in one SQLite file, under what it depends on."""

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Self

from sqlalchemy import URL, Column, Connection, Integer, MetaData, Table, Text, create_engine, inspect, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from trsr.errors import ConfigError
from trsr.llm.protocol import Decoding, Generation, Prompt

SCHEMA_VERSION = 1
APPLICATION_ID = 0x74727372  # "trsr" in the file's header tells our file from another program's
BUSY_SECONDS = 60
KEYS_PER_QUERY = 900  # SQLite builds may limit a statement to 999 variables

_metadata = MetaData()
_calls = Table(
    "calls",
    _metadata,
    Column("key", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("created", Integer, nullable=False),  # Unix seconds
)

_REMEDIES = {
    sqlite3.SQLITE_NOTADB: "not a summary store; give another path or move the file away",
    sqlite3.SQLITE_CORRUPT: "the summary store is damaged; move the file away and run again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened as a file; give a path in a folder that you may write",
    sqlite3.SQLITE_READONLY: "cannot be written; give a path in a folder that you may write",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run again, what was stored is kept",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; check it and run again, what was stored is kept",
    sqlite3.SQLITE_BUSY: f"held by another process for over {BUSY_SECONDS} seconds; end that one and run again",
}


def call_key(fingerprint: str, prompt: Prompt, decoding: Decoding) -> str:
    """SHA-256 over everything that changes what a call writes, and nothing else (no batch size, no path)."""
    fields = {"model": fingerprint, "prompt": asdict(prompt), "decoding": asdict(decoding)}
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


class SummaryStore:
    """LLM calls in a SQLite file at `path`, made where it is missing; use it as a context manager.

    Several processes may use one file at once. The first text stored under a key stays. Every method raises
    `ConfigError` with the path and a remedy where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: the folder cannot be made ({error.strerror}); give another path") from None
        url = URL.create("sqlite", database=str(path))
        self._engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        try:
            with self._transaction() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._check_schema(connection)
            with self._transaction() as connection:
                _switch_to_wal(connection)
        except ConfigError:
            self.close()
            raise

    def get_many(self, keys: Collection[str]) -> dict[str, Generation]:
        """What is stored under `keys`; a key that is not stored is left out."""
        wanted, found = list(keys), {}
        with self._transaction() as connection:
            for at in range(0, len(wanted), KEYS_PER_QUERY):
                columns = (_calls.c.key, _calls.c.text, _calls.c.tokens_in, _calls.c.tokens_out)
                query = select(*columns).where(_calls.c.key.in_(wanted[at : at + KEYS_PER_QUERY]))
                found.update({key: Generation(*values) for key, *values in connection.execute(query)})
        return found

    def put_many(self, generations: Mapping[str, Generation], model: str) -> None:
        """Store all of `generations` (by key) written by the backend with fingerprint `model`, or none of them."""
        created = int(time.time())
        rows = [{"key": key, **asdict(value), "model": model, "created": created} for key, value in generations.items()]
        if rows:
            with self._transaction() as connection:
                connection.execute(insert(_calls).on_conflict_do_nothing(), rows)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_schema(self, connection: Connection) -> None:
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if application == APPLICATION_ID and version > SCHEMA_VERSION:
            known = f"this trsr knows up to {SCHEMA_VERSION}"
            raise ConfigError(f"{self.path}: summary store of version {version}, {known}; upgrade trsr")
        if application != APPLICATION_ID and inspect(connection).get_table_names():
            raise ConfigError(f"{self.path}: {_REMEDIES[sqlite3.SQLITE_NOTADB]}")
        if application != APPLICATION_ID:
            _metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            unknown = f"the summary store failed ({error.orig}); move the file away and run again"
            raise ConfigError(f"{self.path}: {_REMEDIES.get(_primary_code(error), unknown)}") from None


def _switch_to_wal(connection: Connection) -> None:
    """Let readers and a writer work side by side; the file keeps this mode.

    Alone among SQLite's statements the switch does not wait for other processes, so a write lock, which does,
    is taken and let go before it is tried again.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except DatabaseError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ROLLBACK")
        else:
            return


def _primary_code(error: DatabaseError) -> int:
    return getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
