"""Writing files so that they appear whole or not at all, with one sentence when the disk says no."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trsr.errors import ConfigError

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def cache_folder() -> Path:
    """The folder for prepared models and downloads: `TRSR_CACHE`, or the platform's cache folder of the user."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("TRSR_CACHE") or user_cache_path("trsr"))


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
    """The same for a folder; one that stands at `path`, or that a link there names, is replaced when all ends well."""
    place = Path(os.path.realpath(path))
    work = place.with_name(f".{place.name}.{os.getpid()}.partial")
    old = place.with_name(f".{place.name}.{os.getpid()}.old")

    def clean_up() -> None:
        if old.exists() and not place.exists():  # something came between the two renames
            old.rename(place)
        for folder in (work, old):
            shutil.rmtree(folder, ignore_errors=True)

    clean_up()  # what a killed process of the same number left
    with _told(path, clean_up):
        work.mkdir(parents=True)
        yield work
        if place.exists():
            place.rename(old)
        work.rename(place)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it for this process until the block ends or the process does, however it ends.

    Raises `ConfigError` when another process holds it, or when it cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    with _told(folder, lambda: None):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(f"{folder}: another process is at work there; wait, or give another --out") from None
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole_file(path) as work:
        work.write_text(text, encoding="utf-8")


def _reason(error: Exception) -> str:
    """What the system said, "" if the error is not the system's; polars and safetensors tell it in words only."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    told = _SYSTEM_ERROR.search(str(error))
    return os.strerror(int(told.group(1))) if told else ""


@contextmanager
def _told(path: Path, clean_up: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if not reason:
            raise
        raise ConfigError(f"{path}: cannot be written: {reason}; choose another place or free some") from None
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to clean up
            clean_up()
