"""Log-odds of yes from the next-token probabilities of a vLLM or SGLang server.

Every candidate is sent as the ids of its whole prompt, never as text, so the server reads what the local path reads;
the server's prefix cache shares the prefix of a user. The log-probabilities of both answers are asked for by id. Their
difference is the log-odds: the softmax normaliser cancels, and nothing depends on which tokens are likely.

The calls run in an event loop on a thread of its own, so scoring works inside a notebook's loop as well.
"""

import math
import os
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import anyio
import httpx2
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal

from trsr.data.scoring import Scores
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import Answers
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.server_protocols import PROTOCOLS, ServerProtocol, Tokens

Protocol = Literal["auto", "vllm", "sglang"]

_PROMPTS_PER_CALL = 64
_ATTEMPTS = 6
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_NO_PROBABILITY = -9999.0  # vLLM writes this for minus infinity, SGLang the lowest float


@dataclass
class ServedReport:
    """What scoring through a server took so far, for the manifest.

    `tokens` are those of all prompts as sent, the prefix once for each candidate; `seconds` were spent waiting.
    """

    prompts: int = 0
    candidates: int = 0
    requests: int = 0
    retries: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, int | float]:
        """Plain values by name."""
        return asdict(self)

    @property
    def throughput(self) -> str:
        """Tokens a second in words."""
        return f"{self.tokens / self.seconds:,.0f} tokens/s" if self.seconds else ""


class ServedScoring:
    """Log-odds of yes from a server's next-token probabilities.

    `url` is the server's address with or without `/v1`; `model` the name that it serves the model under. `protocol`
    "auto" goes by what the server says of itself. `concurrency` is the number of requests in flight, each with up to
    64 candidates of one user; `timeout` the seconds that one may go without an answer; `api_key_env` the environment
    variable that holds the key, if there is one. `context` is the longest prompt and answer that the server tells of;
    `report` tells what was done, and `on_pass` is told of it behind every prompt.

    Making one asks the server for its models. Raises `ConfigError` for a setting that cannot be used, `ModelError`
    when the server cannot be reached or does not serve the model.
    """

    def __init__(
        self,
        url: str,
        model: str,
        answers: Answers,
        protocol: Protocol = "auto",
        concurrency: int = 16,
        timeout: float = 300.0,
        api_key_env: str | None = None,
    ) -> None:
        self.url, self.model, self.answers = _address(url), model, answers
        if protocol not in ("auto", *PROTOCOLS):
            raise ConfigError(f"protocol {protocol!r}: unknown; take auto, {' or '.join(PROTOCOLS)}")
        if concurrency < 1 or not timeout > 0:
            raise ConfigError(f"concurrency {concurrency}, timeout {timeout}: both must be above 0")
        self.concurrency, self.timeout, self.api_key_env = concurrency, timeout, api_key_env
        self.report = ServedReport()
        self.on_pass: Callable[[ServedReport], object] = lambda report: None
        with self._session() as (portal, client):
            card = self._card(portal.call(self._call, client, "GET", "/v1/models", None))
        self.protocol = str(card.get("owned_by")) if protocol == "auto" else protocol
        if self.protocol not in PROTOCOLS:
            raise ModelError(f"{self.url} says it is {self.protocol!r}; name its protocol, vllm or sglang")
        if self.protocol == "sglang" and card.get("parent"):
            raise ModelError(f"{self.url} serves {model} as an adapter of SGLang; serve the merged model instead")
        context = card.get("max_model_len")
        self.context = context if isinstance(context, int) else None

    @property
    def fingerprint(self) -> dict[str, str]:
        """What is asked, for the manifest: url (it never holds credentials), model and protocol."""
        return {"url": self.url, "model": self.model, "protocol": self.protocol}

    def score(self, prompts: Iterable[RankingPrompt]) -> Iterator[Scores]:
        """Log-odds of yes, (n candidates,) fp32, for each prompt in order; prompts are read as answers come in.

        A few times `concurrency` requests are under way; an error, an interrupt or `close` cancels them. Raises
        `ModelError` when the server fails for good or does not give the probabilities.
        """
        waiting: deque[list[Future[list[float]]]] = deque()
        with self._session() as (portal, client):
            limiter = portal.call(anyio.CapacityLimiter, self.concurrency)
            try:
                for prompt in prompts:
                    calls = [
                        portal.start_task_soon(self._ask, client, limiter, prompt.prefix, suffixes)
                        for suffixes in _batches(prompt.suffixes)
                    ]
                    waiting.append(calls)
                    while sum(max(len(calls), 1) for calls in waiting) > 4 * self.concurrency:
                        yield self._collect(waiting[0])
                        waiting.popleft()
                while waiting:
                    yield self._collect(waiting[0])
                    waiting.popleft()
            finally:
                for call in (call for calls in waiting for call in calls):
                    call.cancel()

    @contextmanager
    def _session(self) -> Iterator[tuple[BlockingPortal, httpx2.AsyncClient]]:
        headers = _authorization(self.api_key_env)
        limits = httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        with start_blocking_portal() as portal:
            client = httpx2.AsyncClient(headers=headers, timeout=self.timeout, limits=limits, verify=_certificates())
            with portal.wrap_async_context_manager(client):
                yield portal, client

    def _collect(self, calls: Sequence[Future[list[float]]]) -> Scores:
        start = time.perf_counter()
        values = [value for call in calls for value in call.result()]
        self.report.seconds += time.perf_counter() - start
        self.report.prompts += 1
        self.report.candidates += len(values)
        self.on_pass(self.report)
        return np.array(values, dtype=np.float32)

    async def _ask(
        self, client: httpx2.AsyncClient, limiter: anyio.CapacityLimiter, prefix: Tokens, suffixes: Sequence[Tokens]
    ) -> list[float]:
        spoken = PROTOCOLS[self.protocol]
        async with limiter:
            prompts = [prefix + suffix for suffix in suffixes]
            sent = sum(map(len, prompts))
            reply = await self._call(client, "POST", spoken.path, spoken.body(self.model, self.answers, prompts))
        self.report.requests += 1
        self.report.tokens += sent
        try:
            found, received = spoken.read(reply)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise ModelError(
                f"{self.url}{spoken.path} answered without log-probabilities; {spoken.remedy}, or name the protocol "
                "that it speaks"
            ) from None
        if (len(found), received) != (len(prompts), sent):
            raise ModelError(
                f"{self.url}{spoken.path} read {len(found)} prompts of {received} tokens where {len(prompts)} of "
                f"{sent} were sent; serve with a context that holds whole prompts, without truncation"
            )
        return [self._log_odds(values, spoken) for values in found]

    def _log_odds(self, found: Mapping[int, Any], spoken: ServerProtocol) -> float:
        for token in (self.answers.yes_id, self.answers.no_id):
            if token not in found:
                raise ModelError(
                    f"{self.url}{spoken.path} gave no log-probability of answer token {token}; {spoken.remedy}"
                )
        yes, no = found[self.answers.yes_id], found[self.answers.no_id]
        if not all(isinstance(value, float | int) and _NO_PROBABILITY < value < math.inf for value in (yes, no)):
            raise ModelError(
                f"{self.url}{spoken.path} gave log-probabilities {yes} of yes and {no} of no; look for overflow in "
                "the served weights and their dtype"
            )
        return float(yes) - float(no)

    async def _call(self, client: httpx2.AsyncClient, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        """The parsed answer; tries again where the connection broke or the server is busy or failing."""
        failure = ""
        for attempt in range(_ATTEMPTS):
            asked = 0.0
            try:
                response = await client.request(method, self.url + path, json=body)
            except httpx2.TimeoutException:
                failure = f"gave no answer in {self.timeout:g} s"
            except httpx2.RequestError as error:
                failure = f"could not be reached ({type(error).__name__}: {error})"
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return self._parse(response, path)
                failure = f"answered {response.status_code} ({_said(response)})"
                asked = _retry_after(response)
            if attempt + 1 < _ATTEMPTS:
                self.report.retries += 1
                wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0)  # or all would come back at once
                await anyio.sleep(max(asked, wait))
        raise ModelError(
            f"{self.url}{path} {failure}, {_ATTEMPTS} times in a row; see to the server, raise the timeout or lower "
            "the concurrency"
        )

    def _parse(self, response: httpx2.Response, path: str) -> Any:
        status = response.status_code
        if status in (401, 403):
            held = f"the key in {self.api_key_env}" if self.api_key_env else "a request without a key"
            raise ModelError(f"{self.url}{path} refused {held} ({status}); name the variable that holds a valid key")
        if status == 404:
            raise ModelError(
                f"{self.url}{path} answered 404 ({_said(response)}); check the url, the protocol and the model name "
                f"{self.model}"
            )
        if status != 200:
            raise ModelError(f"{self.url}{path} answered {status} ({_said(response)}); change what it complains about")
        try:
            return response.json()
        except ValueError:
            raise ModelError(
                f"{self.url}{path} answered with invalid JSON; check that the url is the server's and what lies between"
            ) from None

    def _card(self, reply: Any) -> Mapping[str, Any]:
        try:
            cards: dict[str, dict[str, Any]] = {str(card["id"]): dict(card) for card in reply["data"]}
        except (KeyError, TypeError, ValueError):
            raise ModelError(
                f"{self.url}/v1/models answered without a list of models; check that the url is a vLLM or SGLang "
                "server's"
            ) from None
        if self.model not in cards:
            raise ModelError(f"{self.url} does not serve {self.model}; it serves {', '.join(cards) or 'nothing'}")
        return cards[self.model]


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


def _batches(suffixes: Sequence[Tokens]) -> list[Sequence[Tokens]]:
    return [suffixes[start : start + _PROMPTS_PER_CALL] for start in range(0, len(suffixes), _PROMPTS_PER_CALL)]


def _retry_after(response: httpx2.Response) -> float:
    """The seconds that the server asks to wait, within reason; a date counts as none."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT) if asked.isdecimal() else 0.0


def _said(response: httpx2.Response) -> str:
    """The server's own words, short and on one line."""
    try:
        reply = response.json()
        error = reply.get("error", reply)
        words = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        words = response.text
    return " ".join(words.split())[:200]
