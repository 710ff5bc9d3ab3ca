"""A store in a PostgreSQL database."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from trsr.errors import ConfigError
from trsr.summaries.store.database import BUSY_SECONDS, LOCK_NUMBER
from trsr.summaries.store.layout import bring_up_to_date
from trsr.summaries.store.schema import METADATA, VERSION_TABLE

_FOREIGN = "holds tables of another program; give a database of its own"
_READ_ONLY = "cannot be written; give a database in which you may make and write tables"
_REMEDIES = {  # by SQLSTATE
    "25006": _READ_ONLY,
    "42501": _READ_ONLY,
    "53100": "the disk is full; free some space and run again, what was stored is kept",
    "55P03": f"held by another process for over {BUSY_SECONDS} seconds; end that one and run again",
}


class PostgresDatabase:
    """The PostgreSQL database at `url`, reached through psycopg 3; the password is in no message.

    Raises `ConfigError` with the pip line where psycopg is missing.
    """

    def __init__(self, url: URL) -> None:
        where = {name: value for name, value in url.query.items() if name in ("host", "port")}
        self.place = str(URL.create("postgresql", url.username, None, url.host, url.port, url.database, where))
        try:
            # a connection may be dead after the minutes that an LLM takes between two writes, so it is tried first
            self.engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except ImportError:
            raise ConfigError(f"{self.place}: PostgreSQL needs psycopg: pip install 'trsr[postgres]'") from None
        try:
            with self.writing() as connection:
                self._check_layout(connection)
        except ConfigError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose single statements each see one state of the store."""
        with self._told(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the lock of all writers, so they never wait for each other's rows."""
        with self.reading() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_NUMBER})")
            yield connection

    def erase(self, keys: Collection[str]) -> None:
        """Write the tables anew without deleted rows; the server's log and its backups are out of reach from here."""
        with self._told(), self.engine.connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")  # VACUUM refuses a transaction
            outside.exec_driver_sql(f"VACUUM FULL {', '.join(METADATA.tables)}")

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()

    def _check_layout(self, connection: Connection) -> None:
        tables = inspect(connection).get_table_names()
        version = 0
        if VERSION_TABLE in tables:
            version = int(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one())
        elif tables:
            raise ConfigError(f"{self.place}: {_FOREIGN}")
        bring_up_to_date(connection, version, self.place)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise ConfigError(f"{self.place}: {_sentence(error)}") from None


def _sentence(error: DBAPIError) -> str:
    state = getattr(error.orig, "sqlstate", None)
    reason = str(error.orig).partition("\n")[0]
    if error.connection_invalidated:
        return f"the connection was lost ({reason}); run again, what was stored is kept"
    if state is None:
        return f"cannot be connected to ({reason}); check the URL and that the server runs"
    return _REMEDIES.get(state, f"the summary store failed ({reason}); check the database and run again")
