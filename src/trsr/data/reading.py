"""Parquet files into frames, with one sentence instead of a traceback when a file cannot be read."""

from pathlib import Path

import polars as pl

from trsr.errors import DataError

MAGIC = b"PAR1"


def read_table(path: Path) -> pl.DataFrame:
    """The whole Parquet file at `path`; `DataError` names the file and the remedy if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; write this table there as Parquet") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check the path and its permissions") from None
    if not head.startswith(MAGIC):
        raise DataError(f"{path}: not a Parquet file ({_looks_like(head)}); convert it to Parquet")
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError):
        raise DataError(f"{path}: the Parquet file is truncated or damaged; copy or write it again") from None


def _looks_like(head: bytes) -> str:
    if not head:
        return "it is empty"
    line = head.decode("utf-8", errors="ignore").splitlines()[:1]
    return f"it starts with {line[0][:24]!r}" if line and line[0].isprintable() else "its content is binary"
