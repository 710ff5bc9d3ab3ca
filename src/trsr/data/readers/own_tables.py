"""Tables of your own, in delimited text, Parquet, Arrow or JSON lines, with their columns mapped in the settings."""

from trsr.config import ImportConfig
from trsr.data.importing.reader import Layout, Reader
from trsr.data.importing.source import Source
from trsr.data.importing.tables import files_of, mapped_layout
from trsr.errors import ConfigError


def _recognise(source: Source) -> str:
    return ""  # only the settings can tell which column is which


def _layout(source: Source, config: ImportConfig) -> Layout:
    tables = config.tables
    if tables is None:
        raise ConfigError("format table: say under tables in the import settings which column is which")
    return mapped_layout(files_of(source, tables.items), files_of(source, tables.interactions), tables)


READER = Reader(
    "table", "tables of your own, mapped under tables in the settings", _recognise, _layout, frozenset({"tables"})
)
