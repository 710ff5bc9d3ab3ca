"""The plain way to bring text tables into Parquet: Polars reads them as they are and writes what it read.

Nothing is checked, cleaned or taken apart, and all values stay text, which is the fastest that Polars does. There are
two ways, whole tables and streaming; neither is always the faster. `compression` is that of the Parquet files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

Compression = Literal["zstd", "lz4"]
DEFAULT: Compression = "zstd"
"""What Polars writes where nobody says otherwise."""


@dataclass(frozen=True)
class TextTable:
    """A file and how its values are kept apart."""

    name: str
    separator: str
    has_header: bool
    quoted: bool

    @property
    def reading(self) -> dict[str, Any]:
        """What Polars must know to read it."""
        return {
            "separator": self.separator,
            "has_header": self.has_header,
            "quote_char": '"' if self.quoted else None,
            "infer_schema": False,
        }


def read_whole(tables: Sequence[TextTable], source: Path, target: Path, compression: Compression) -> None:
    """Read each table and then write it."""
    for table in tables:
        frame = pl.read_csv(source / table.name, **table.reading)
        frame.write_parquet(target / f"{table.name}.parquet", compression=compression)


def read_streaming(tables: Sequence[TextTable], source: Path, target: Path, compression: Compression) -> None:
    """Write each table while it is read."""
    for table in tables:
        frame = pl.scan_csv(source / table.name, **table.reading)
        frame.sink_parquet(target / f"{table.name}.parquet", compression=compression)


PlainWay = Callable[[Sequence[TextTable], Path, Path, Compression], None]
PLAIN_WAYS: tuple[PlainWay, ...] = (read_whole, read_streaming)
