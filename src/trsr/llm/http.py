"""The client side of an HTTP server that holds a model: address, key, retries, and errors in one sentence.

What may pass (no connection, no answer in time, 408, 429, 5xx, a reply cut short or garbled) is tried again, after a
pause that doubles, with jitter, or that the server asks for with `Retry-After`. Everything else is an error at once.
The calls run in an event loop on a thread of its own, so they work inside a notebook's loop as well.
"""

import json
import math
import os
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from trsr.errors import ConfigError, ModelError

ATTEMPTS = 6
GLANCE = 1.0  # seconds of a wait at most: Ctrl-C just before one, or on another thread, does not end it
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0


class _MayPassError(Exception):
    """What went wrong in words, the remedy, and the seconds that the server asks to wait."""

    def __init__(self, fact: str, remedy: str, asked: float = 0.0) -> None:
        super().__init__(fact)
        self.remedy, self.asked = remedy, asked


class Connections:
    """As many clients with one connection each as there may be requests at once; a request takes a free one.

    One client with many connections would look at every idle one for every request, and that costs more time than
    the request itself when answers come in bunches.
    """

    def __init__(self, clients: list[httpx2.AsyncClient], headers: Mapping[str, str]) -> None:
        self._free = clients
        self._limit = anyio.Semaphore(len(clients), fast_acquire=True)
        self._headers = {"Accept": "application/json", "Content-Type": "application/json", **headers}

    async def send(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx2.Response:
        """The whole answer to a request with `body` as JSON."""
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        request = httpx2.Request(method, url, headers=self._headers, content=content)
        async with self._limit:
            client = self._free.pop()
            try:
                return await client.send(request)
            finally:
                self._free.append(client)


class ModelServer:
    """A server at `url`, with or without `/v1`, asked by at most `concurrency` requests at once.

    `timeout` is the seconds from sending a request to the last byte of its answer, `attempts` how often it is sent,
    `api_key_env` the environment variable that holds the key, if there is one; the key goes into the requests and
    nowhere else. `on_retry` is told of every request that is sent again. Raises `ConfigError` for a setting that
    cannot be used.
    """

    def __init__(
        self, url: str, concurrency: int, timeout: float, api_key_env: str | None = None, attempts: int = ATTEMPTS
    ) -> None:
        if concurrency < 1 or not timeout > 0:
            raise ConfigError(f"concurrency {concurrency}, timeout {timeout}: both must be above 0")
        if attempts < 1:
            raise ConfigError(f"attempts {attempts}: a request is sent at least once")
        self.url = _address(url)
        self.concurrency, self.timeout, self.api_key_env, self.attempts = concurrency, timeout, api_key_env, attempts
        self.on_retry: Callable[[], object] = lambda: None

    @contextmanager
    def session(self) -> Iterator[tuple[BlockingPortal, Connections]]:
        """A running event loop and the connections; leaving waits for calls that were neither done nor cancelled."""
        headers = _authorization(self.api_key_env)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._connect(headers)) as connected:
            yield portal, connected

    @asynccontextmanager
    async def _connect(self, headers: Mapping[str, str]) -> AsyncIterator[Connections]:
        one = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        async with AsyncExitStack() as opened:
            clients = [
                httpx2.AsyncClient(timeout=None, limits=one, verify=_certificates()) for _ in range(self.concurrency)
            ]
            yield Connections([await opened.enter_async_context(client) for client in clients], headers)

    async def call(
        self, connections: Connections, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The parsed answer. Raises `ModelError`, for what may pass after `attempts` times."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send(connections, method, path, body)
            except _MayPassError as failure:
                if attempt >= self.attempts:
                    times = f"{attempt} times in a row" if attempt > 1 else "once"
                    raise ModelError(f"{self.url}{path} {failure}, {times}; {failure.remedy}") from None
                wait = _FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # or all would come back at once
                wait = max(failure.asked, wait)
            self.on_retry()
            await anyio.sleep(wait)

    def card(self, reply: Any, model: str) -> Mapping[str, Any]:
        """What the server's answer to `/v1/models` says of `model`, also by the name that Ollama gives it there.

        Raises `ModelError` where it does not serve the model.
        """
        try:
            cards: dict[str, dict[str, Any]] = {str(card["id"]): dict(card) for card in reply["data"]}
        except (KeyError, TypeError, ValueError):
            raise ModelError(
                f"{self.url}/v1/models answered without a list of models; check that the url is a model server's"
            ) from None
        found = cards.get(model) or cards.get(f"{model}:latest")
        if found is None:
            names = ", ".join(list(cards)[:8]) + (f" and {len(cards) - 8} more" if len(cards) > 8 else "")
            raise ModelError(f"{self.url} does not serve {model}; it serves {names or 'nothing'}")
        return found

    async def _send(self, connections: Connections, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        busy = "see to the server, raise the timeout or lower the concurrency"
        try:
            # a client's own timeout starts anew with every byte, and a slow drip would never end
            with anyio.fail_after(self.timeout):
                response = await connections.send(method, self.url + path, body)
        except TimeoutError:
            raise _MayPassError(f"gave no answer in {self.timeout:g} s", busy) from None
        except httpx2.RequestError as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise _MayPassError(f"could not be reached ({said})", busy) from None
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise _MayPassError(f"answered {status} ({self._said(response)})", busy, _retry_after(response))
        if status != 200:
            raise self._refusal(response, path)
        try:
            return response.json()
        except ValueError:
            between = "check that the url is the server's and what lies between"
            raise _MayPassError("answered with invalid JSON", between) from None

    def quote(self, text: str) -> str:
        """Words of the server, short and on one line; it may have repeated the key, which is left out."""
        for secret in _authorization(self.api_key_env).values():
            text = text.replace(secret.removeprefix("Bearer "), "***")
        return " ".join(text.split())[:200]

    def _said(self, response: httpx2.Response) -> str:
        """What the server says of an error."""
        try:
            reply = response.json()
            error = reply.get("error", reply)
            words = str(error.get("message", error) if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            words = response.text
        return self.quote(words)

    def _refusal(self, response: httpx2.Response, path: str) -> ModelError:
        status = response.status_code
        if status in (401, 403):
            held = f"the key in {self.api_key_env}" if self.api_key_env else "a request without a key"
            return ModelError(f"{self.url}{path} refused {held} ({status}); name the variable that holds a valid key")
        remedy = "check the url, the protocol and the model name" if status == 404 else "change what it complains about"
        return ModelError(f"{self.url}{path} answered {status} ({self._said(response)}); {remedy}")


def _address(url: str) -> str:
    """The server's address without `/v1`; messages and manifests show it, so it must not hold a secret."""
    if any(mark in url for mark in "@?#"):
        raise ConfigError("url: holds credentials, a query or a fragment; leave them out and name the key's variable")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"url {url!r}: not a server's address; write it as http://host:port")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _authorization(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"api_key_env {variable}: the environment holds no usable key there; export it")
    return {"Authorization": f"Bearer {key}"}


@cache
def _certificates() -> ssl.SSLContext:
    """Read once, as reading them takes longer than a short request."""
    return httpx2.create_ssl_context()


def _retry_after(response: httpx2.Response) -> float:
    """The seconds that the server asks to wait, given as a number or a date, within reason."""
    asked = response.headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            moment = parsedate_to_datetime(asked)
        except ValueError:
            return 0.0
        zone = moment.tzinfo or UTC  # a date that ends in "-0000" comes without one
        seconds = (moment.replace(tzinfo=zone) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else 0.0
