"""A store in one SQLite file."""

import re
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, inspect
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError

from trsr.errors import ConfigError
from trsr.summaries.store.database import BUSY_SECONDS
from trsr.summaries.store.layout import bring_up_to_date
from trsr.summaries.store.schema import SCHEMA_VERSION

APPLICATION_ID = 0x74727372  # "trsr" in the file's header tells our file from another program's
PART = 1 << 24  # bytes of a file looked through at a time
_HASHES = re.compile(rb"[0-9a-f]{64,}")

_REMEDIES = {
    sqlite3.SQLITE_NOTADB: "not a summary store; give another path or move the file away",
    sqlite3.SQLITE_CORRUPT: "the summary store is damaged; move the file away and run again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened as a file; give a path in a folder that you may write",
    sqlite3.SQLITE_READONLY: "cannot be written; give a path in a folder that you may write",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run again, what was stored is kept",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; check it and run again, what was stored is kept",
    sqlite3.SQLITE_BUSY: f"held by another process for over {BUSY_SECONDS} seconds; end that one and run again",
}


class SqliteDatabase:
    """The SQLite file at `path`, made where it is missing, in WAL mode: readers go on beside the one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: the folder cannot be made ({error.strerror}); give another path") from None
        url = URL.create("sqlite", database=self.place)
        self.engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        try:
            with self.writing() as connection:
                self._check_layout(connection)
            with self.reading() as connection:
                _switch_to_wal(connection)
            listen(self.engine, "connect", _write_without_waiting)
            self.engine.dispose()  # what connected before, to see whether this is a store at all, did not listen
        except ConfigError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose single statements each see one state of the store."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            unknown = f"the summary store failed ({error.orig}); move the file away and run again"
            raise ConfigError(f"{self.place}: {_REMEDIES.get(_primary_code(error), unknown)}") from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start, for a lock asked for later may be refused."""
        with self.reading() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            yield connection

    def erase(self, keys: Collection[str]) -> None:
        """Write the file anew without what was deleted, empty its log, and look through the bytes of both.

        Raises `ConfigError` where a call's key, which stands beside every copy of its text, is still there.
        """
        with self.reading() as connection:
            connection.exec_driver_sql("VACUUM")
            [busy, *_] = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        remedy = "end the processes that use the store and forget again"
        if busy:
            raise ConfigError(f"{self.place}: what was forgotten is still in the file's log; {remedy}")
        files = [self.path, self.path.with_name(f"{self.path.name}-wal")]
        left = set().union(*(_found(file, set(keys)) for file in files if file.exists()))
        if left:
            raise ConfigError(f"{self.place}: {len(left)} forgotten calls are still in the file; {remedy}")

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def _check_layout(self, connection: Connection) -> None:
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if application != APPLICATION_ID:
            if inspect(connection).get_table_names():
                raise ConfigError(f"{self.place}: {_REMEDIES[sqlite3.SQLITE_NOTADB]}")
            version = 0
        bring_up_to_date(connection, version, self.place)
        # trsr 0.1.0 reads the version here, so the header keeps step with the table of Alembic
        if version != SCHEMA_VERSION:
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")


def _write_without_waiting(connection: sqlite3.Connection, _: object) -> None:
    """Leave it to the system when a commit reaches the disk: a killed process loses nothing by it.

    When the power fails the last calls may be lost, whole, and are made again.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _switch_to_wal(connection: Connection) -> None:
    """Let readers and a writer work side by side; the file keeps this mode.

    Alone among SQLite's statements the switch does not wait for other processes, so a write lock, which does,
    is taken and let go before it is tried again.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except DBAPIError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ROLLBACK")
        else:
            return


def _primary_code(error: DBAPIError) -> int:
    return getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _found(file: Path, keys: set[str]) -> set[str]:
    """Those of `keys` (SHA-256 in hex) that are in the bytes of a file, in one pass however many they are."""
    found: set[str] = set()
    with file.open("rb") as content:
        before = b""
        while part := content.read(PART):
            part = before + part
            for run in _HASHES.findall(part):
                found |= {run[at : at + 64].decode() for at in range(len(run) - 63)} & keys
            before = part[-63:]
    return found
