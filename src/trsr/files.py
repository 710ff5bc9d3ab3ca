"""Writing files so that they appear whole or not at all, with one sentence when the disk says no."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trsr.errors import ConfigError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    Raises `ConfigError` naming `path` when the place cannot be written (missing rights, full disk).
    """
    work = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _told(path, lambda: work.unlink(missing_ok=True)):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield work
        work.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder; a folder that stands at `path` is replaced when the block ends well."""
    work = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _told(path, lambda: shutil.rmtree(work, ignore_errors=True)):
        work.mkdir(parents=True)
        yield work
        if path.exists():
            shutil.rmtree(path)
        work.rename(path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole_file(path) as work:
        work.write_text(text, encoding="utf-8")


@contextmanager
def _told(path: Path, clean_up: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; choose another place or free some") from None
    finally:
        clean_up()
