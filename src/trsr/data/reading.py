"""Parquet files into frames, with one sentence instead of a traceback when a file cannot be read."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trsr.errors import DataError

MAGIC = b"PAR1"
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises on a damaged file; a panic is no `Exception`."""


def dataset_files(folder: Path) -> tuple[Path, Path]:
    """The files of items and interactions of a dataset folder; `DataError` if there is no such folder."""
    try:
        is_there = folder.is_dir()
    except OSError as error:
        raise DataError(f"{folder}: cannot be opened ({error.strerror}); check the path and its permissions") from None
    if not is_there:
        raise DataError(f"{folder}: no such folder; give one that holds items.parquet and interactions.parquet")
    return folder / "items.parquet", folder / "interactions.parquet"


def read_table(path: Path) -> pl.DataFrame:
    """The whole Parquet file at `path`; `DataError` names the file and the remedy if it cannot be read."""
    _check_start(path)
    try:
        return pl.read_parquet(path, glob=False)
    except UNREADABLE:
        raise _damaged(path) from None


class Tables(Mapping[str, pl.DataFrame]):
    """Parquet files by their names without the ending; each is read anew by `read_table` whenever it is asked for."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = {path.stem: path for path in paths}

    def __getitem__(self, name: str) -> pl.DataFrame:
        return read_table(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True, slots=True)
class ScannedTable:
    """A Parquet file that is read in parts, all of them from the file as it was when it was opened."""

    path: Path
    version: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> "ScannedTable":
        """The file at `path`; the same `DataError`s as `read_table`, as far as the start and the end of it tell."""
        _check_start(path)
        table = cls(path, _version(path))
        with table.reading():
            table.scan().collect_schema()
        return table

    def scan(self) -> pl.LazyFrame:
        """All rows; collect them within `reading`."""
        return pl.scan_parquet(self.path, glob=False)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around all that collects: `DataError` if the file turns out damaged or is not the one that was opened."""
        try:
            yield
        except UNREADABLE:
            self._check_version()
            raise _damaged(self.path) from None
        self._check_version()

    def _check_version(self) -> None:
        if _version(self.path) != self.version:
            raise DataError(f"{self.path}: the file changed while it was read; run again")


def _version(path: Path) -> tuple[int, ...]:
    """What tells a file from one that took its place; empty if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_start(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; write this table there as Parquet") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check the path and its permissions") from None
    if not head.startswith(MAGIC):
        raise DataError(f"{path}: not a Parquet file ({_looks_like(head)}); convert it to Parquet")


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: the Parquet file is truncated or damaged; copy or write it again")


def _looks_like(head: bytes) -> str:
    if not head:
        return "it is empty"
    line = head.decode("utf-8", errors="ignore").splitlines()[:1]
    return f"it starts with {line[0][:24]!r}" if line and line[0].isprintable() else "its content is binary"
