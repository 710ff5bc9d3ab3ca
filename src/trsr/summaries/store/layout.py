"""Bringing the tables of a store to the version that this trsr uses."""

from pathlib import Path
from threading import Lock

from sqlalchemy import Connection

from trsr.errors import ConfigError
from trsr.summaries.store.schema import SCHEMA_VERSION, VERSION_TABLE

_MIGRATIONS = Path(__file__).with_name("migrations")
_alembic = Lock()  # Alembic keeps what it works on in module state, so one thread of a process at a time


def bring_up_to_date(connection: Connection, version: int, place: str) -> None:
    """Make or change the tables of a store of `version` (0 for a new one) inside the transaction of `connection`.

    The caller holds the write lock of the store. Raises `ConfigError` for a store of a newer trsr.
    """
    if version > SCHEMA_VERSION:
        known = f"this trsr knows up to {SCHEMA_VERSION}"
        raise ConfigError(f"{place}: summary store of version {version}, {known}; upgrade trsr")
    if version == SCHEMA_VERSION:
        return
    # imported here, for most openings need no migration and Alembic takes longer to load than they take
    from alembic import command
    from alembic.config import Config

    attributes = {"connection": connection, "version_table": VERSION_TABLE}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with _alembic:
        command.upgrade(config, "head")
