"""Downloads of what the user names by URL: with progress, gone on with where they broke off, told by their SHA-256."""

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import is_zipfile

import httpx2
from filelock import FileLock

from trsr.errors import ConfigError, DataError
from trsr.files import cache_folder
from trsr.progress import say, stage

ATTEMPTS = 5
_FIRST_WAIT = 1.0  # seconds; doubles
_TIMEOUT = 60.0  # seconds without a byte
_PIECE = 2**20
_LONGEST_NAME = 200  # bytes; the system takes 255, what is not whole yet has a longer one


class _BrokeOffError(Exception):
    """Why a download ended early; what came is kept, and it may go on."""


def is_url(source: str) -> bool:
    """Whether a source is to be downloaded."""
    return source.lower().startswith(("http://", "https://"))


def fetch(url: str, wanted: str | None = None) -> Path:
    """The file at `url` in the user's cache, downloaded if it is not there yet; its SHA-256 is told.

    `wanted` is the SHA-256 that it must have, in hexadecimal. A download that breaks off is gone on with, now and by
    the next call, if the server says that the file is still the same. Raises `DataError` when it cannot be had whole
    or is another file than wanted, `ConfigError` for an address that is none.
    """
    name = _name(url)
    folder = cache_folder() / "downloads" / sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with FileLock(folder.with_suffix(".lock")):
        cached = path.is_file()
        if not cached:
            _Download(url, path).run()
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if wanted is not None and found != wanted.lower():
            path.unlink()
            raise DataError(f"{url}: its SHA-256 is {found}, wanted was {wanted}; check both and fetch it again")
    say(f"{name}: {'from the cache, ' if cached else ''}{path.stat().st_size:,} bytes, SHA-256 {found}")
    return path


def _name(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.userinfo:
        raise ConfigError("the URL holds a password; fetch the file yourself and name its place")
    name = PurePosixPath(parsed.path).name
    if not parsed.host or not name:
        raise ConfigError(f"{url}: not the address of a file")
    return name.encode()[-_LONGEST_NAME:].decode(errors="ignore")  # its end tells the format


@dataclass(frozen=True)
class _Download:
    """One download to `path`; what is not whole yet lies beside it, with what the server said it is a part of."""

    url: str
    path: Path

    @property
    def partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def told(self) -> Path:
        return self.path.with_name(f"{self.path.name}.told.json")

    def run(self) -> None:
        wait = _FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._attempt()
                self.partial.replace(self.path)
                self.told.unlink(missing_ok=True)
                return
            except _BrokeOffError as error:
                if attempt == ATTEMPTS:
                    kept = self.partial.stat().st_size if self.partial.exists() else 0
                    raise DataError(
                        f"{self.url}: {error}, {attempt} times; {kept:,} bytes are kept, run again to go on"
                    ) from None
                say(f"  {error}; going on in {wait:g} s")
            time.sleep(wait)
            wait *= 2

    def _attempt(self) -> None:
        have = self.partial.stat().st_size if self.partial.exists() else 0
        validator = json.loads(self.told.read_text(encoding="utf-8")) if have and self.told.exists() else None
        headers = {"Accept-Encoding": "identity"}
        if validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with self._response(headers) as response:
            goes_on = response.status_code == 206 and _starts_at(response, have)
            if response.status_code not in (200, 206) or (response.status_code == 206 and not goes_on):
                self._refused(response.status_code)
            start = have if goes_on else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            self.told.write_text(json.dumps(_validator(response)), encoding="utf-8")
            self._receive(response, start, total)
        if total is None:
            self._check_archive()

    @contextmanager
    def _response(self, headers: dict[str, str]) -> Iterator[Any]:
        try:
            with httpx2.stream("GET", self.url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
                yield response
        except httpx2.RequestError as error:
            raise _BrokeOffError(f"the connection failed ({type(error).__name__})") from None

    def _refused(self, status: int) -> None:
        if status in (206, 416):  # another file by now, or the part is no part of it
            self.partial.unlink(missing_ok=True)
            raise _BrokeOffError("the file is another one than before")
        if status in (408, 429) or status >= 500:
            raise _BrokeOffError(f"the server answered {status}")
        raise DataError(f"{self.url}: the server answered {status}; check the address")

    def _receive(self, response: Any, start: int, total: int | None) -> None:
        done = start
        with self.partial.open("ab" if start else "wb") as file, stage(f"fetching {self.path.name}", total) as work:
            for piece in response.iter_raw():
                file.write(piece)
                done += len(piece)
                work.update(done)
        if total is not None and done != total:
            raise _BrokeOffError(f"{done:,} of {total:,} bytes came")

    def _check_archive(self) -> None:
        """Whether an archive is whole, where the server did not say how long the file is; of others nobody can tell."""
        whole = _whole_archive(self.partial, self.path.suffix.lower())
        if whole is None:
            say(f"{self.path.name}: the server does not tell its length, so a cut would not be seen; give its SHA-256")
        elif not whole:
            self.partial.unlink()
            raise _BrokeOffError("the server does not tell the length of the archive, and it came cut or damaged")


def _whole_archive(path: Path, kind: str) -> bool | None:
    """Whether an archive ends as it should; None for a file that is none."""
    if kind == ".zip":
        return is_zipfile(path)
    if kind != ".gz":
        return None
    try:
        with GzipFile(path) as archive:
            while archive.read(_PIECE):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _starts_at(response: Any, have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _validator(response: Any) -> str | None:
    """What tells this version of the file from another; a weak tag does not."""
    tag: str | None = response.headers.get("ETag")
    dated: str | None = response.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else dated
