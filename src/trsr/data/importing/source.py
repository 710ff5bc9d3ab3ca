"""`Source`: the files of what somebody has, in a folder, an archive or alone, read without unpacking them first."""

import gzip
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, cast

from trsr.errors import DataError

MOST_FILES = 10_000
"""A folder with more files than this is no download of one of the formats."""


@dataclass(frozen=True)
class SourceFile:
    """One file; `name` is its path inside the source without `.gz`, `place` what messages call it.

    `size` is what it takes on the disk or in the archive, in bytes. `path` is None inside an archive.
    """

    name: str
    place: str
    size: int
    opener: Callable[[], IO[bytes]]
    path: Path | None = None

    @property
    def base(self) -> str:
        """The name without folders."""
        return PurePosixPath(self.name).name

    @property
    def folder(self) -> str:
        """The folders before the name, "" for none."""
        parent = str(PurePosixPath(self.name).parent)
        return "" if parent == "." else parent

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The uncompressed bytes; `DataError` if they cannot be had, also while they are read."""
        try:
            with self.opener() as stream:
                yield stream
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error):
            raise DataError(f"{self.place}: the compressed file is truncated or damaged; fetch it again") from None
        except NotImplementedError:
            raise DataError(f"{self.place}: compressed in a way that is not read here; unpack it first") from None
        except RuntimeError as error:  # zipfile has no class of its own for it
            if "password" not in str(error):
                raise
            raise DataError(f"{self.place}: the archive has a password; unpack it first") from None
        except OSError as error:
            raise DataError(f"{self.place}: cannot be read ({error.strerror or error}); check the path") from None

    def head(self, size: int = 65_536) -> bytes:
        """The first bytes."""
        with self.open() as stream:
            return stream.read(size)


class Source:
    """The files at `path` by name: those below a folder, those in a `.zip`, or the one file.

    A `.gz` stands for the file in it, a `.zip` in a folder for the files in it. `more` are further places of the same
    source; a file that is in two of them is there once. Raises `DataError` if there are no files.
    """

    def __init__(self, path: Path, *more: Path) -> None:
        self.path = path
        found: dict[Path, SourceFile] = {}
        for place in (path, *more):
            for file in _files(place):
                found.setdefault(Path(file.place).parent.resolve() / Path(file.place).name, file)
        self.files = sorted(found.values(), key=lambda file: file.name)
        if not self.files:
            raise DataError(f"{path}: no files there; give the folder, the archive or the file of a download")

    def matching(self, *patterns: str) -> list[SourceFile]:
        """Files whose name without folders is like one of `patterns` (shell style, case ignored)."""
        return [f for f in self.files if any(fnmatch(f.base.lower(), pattern.lower()) for pattern in patterns)]


def check_unpacked(files: Iterable[SourceFile]) -> None:
    """`DataError` where one of the files lies beside the `.gz` or `.zip` that it came out of, to be read twice."""
    taken: dict[str, str] = {}
    members = []
    for file in files:
        if file.path is None:
            members.append(file.place)
        else:
            _check_apart(file.place, taken.setdefault(_plain(file.place), file.place))
    for member in members:
        archive, _, inner = re.split(r"(?i)(\.zip/)", member, maxsplit=1)
        for place in (Path(archive, inner), Path(archive).parent / inner):  # in a folder of its own, or in this one
            _check_apart(member, taken.get(_plain(str(place)), member))


def _plain(place: str) -> str:
    return re.sub(r"(?i)\.gz$", "", place)


def _check_apart(place: str, other: str) -> None:
    if place != other:
        raise DataError(f"{other}: the same as {place}, one of them packed; leave one of them there")


def _files(path: Path) -> Iterator[SourceFile]:
    if path.is_dir():
        found = []
        for place in _below(path):
            found.append(place)
            if len(found) > MOST_FILES:
                raise DataError(f"{path}: over {MOST_FILES:,} files; give the folder of one download")
        for place in found:
            yield from _one(place, place.relative_to(path).as_posix())
    elif path.is_file():
        yield from _one(path, path.name)
    else:
        raise DataError(f"{path}: no such file or folder; give the folder, the archive or the file of a download")


def _below(path: Path) -> Iterator[Path]:
    """The files below a folder, those of folders that links name too, each folder once; hidden ones are left out."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        shown = sorted((Path(folder, name).is_symlink(), name) for name in folders if not name.startswith("."))
        folders[:] = [name for _, name in shown]  # links behind what they may name
        places = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (place for place in places if place.is_file())


def _raise(error: OSError) -> None:
    raise error


def _one(path: Path, name: str) -> Iterator[SourceFile]:
    if name.lower().endswith(".zip"):
        yield from _zipped(path, name[:-4])
        return
    size = path.stat().st_size
    if name.lower().endswith(".gz"):
        yield SourceFile(name[:-3], str(path), size, lambda: cast(IO[bytes], gzip.GzipFile(path)), path)
    else:
        yield SourceFile(name, str(path), size, lambda: path.open("rb"), path)


def _zipped(path: Path, name: str) -> Iterator[SourceFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}  # the last one counts
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        raise DataError(f"{path}: the archive is truncated or damaged; fetch it again") from None
    for info in members.values():
        parts = PurePosixPath(info.filename).parts
        if any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        inner = PurePosixPath(name, *(part for part in parts if part not in ("/", "..")))
        yield _member(path, info, str(inner))


def _member(path: Path, info: zipfile.ZipInfo, name: str) -> SourceFile:
    def plain() -> IO[bytes]:
        with zipfile.ZipFile(path) as archive:
            return archive.open(info)

    place = f"{path}/{info.filename}"
    if name.lower().endswith(".gz"):
        return SourceFile(name[:-3], place, info.compress_size, lambda: cast(IO[bytes], gzip.GzipFile(fileobj=plain())))
    return SourceFile(name, place, info.compress_size, plain)
