"""Log-odds of yes from the next-token probabilities of a vLLM or SGLang server.

Every candidate is sent as the ids of its whole prompt, never as text, so the server reads what the local path reads;
the server's prefix cache shares the prefix of a user. The log-probabilities of both answers are asked for by id. Their
difference is the log-odds: the softmax normaliser cancels, and nothing depends on which tokens are likely.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from typing import Any, Literal

import anyio
import numpy as np

from trsr.data.scoring import Scores
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import Answers
from trsr.llm.http import GLANCE, Connections, ModelServer
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.server_protocols import PROTOCOLS, ServerProtocol, Tokens

Protocol = Literal["auto", "vllm", "sglang"]

_PROMPTS_PER_CALL = 64
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
        if protocol not in ("auto", *PROTOCOLS):
            raise ConfigError(f"protocol {protocol!r}: unknown; take auto, {' or '.join(PROTOCOLS)}")
        self.server = ModelServer(url, concurrency, timeout, api_key_env)
        self.server.on_retry = self._count_retry
        self.url, self.model, self.answers = self.server.url, model, answers
        self.report = ServedReport()
        self.on_pass: Callable[[ServedReport], object] = lambda report: None
        with self.server.session() as (portal, connections):
            card = self.server.card(portal.call(self.server.call, connections, "GET", "/v1/models"), model)
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
        with self.server.session() as (portal, connections):
            limiter = portal.call(anyio.CapacityLimiter, self.server.concurrency)
            try:
                for prompt in prompts:
                    calls = [
                        portal.start_task_soon(self._ask, connections, limiter, prompt.prefix, suffixes)
                        for suffixes in _batches(prompt.suffixes)
                    ]
                    waiting.append(calls)
                    while sum(max(len(calls), 1) for calls in waiting) > 4 * self.server.concurrency:
                        yield self._collect(waiting[0])
                        waiting.popleft()
                while waiting:
                    yield self._collect(waiting[0])
                    waiting.popleft()
            finally:
                for call in (call for calls in waiting for call in calls):
                    call.cancel()

    def _count_retry(self) -> None:
        self.report.retries += 1

    def _collect(self, calls: Sequence[Future[list[float]]]) -> Scores:
        start = time.perf_counter()
        values = [value for call in calls for value in _result(call)]
        self.report.seconds += time.perf_counter() - start
        self.report.prompts += 1
        self.report.candidates += len(values)
        self.on_pass(self.report)
        return np.array(values, dtype=np.float32)

    async def _ask(
        self, connections: Connections, limiter: anyio.CapacityLimiter, prefix: Tokens, suffixes: Sequence[Tokens]
    ) -> list[float]:
        spoken = PROTOCOLS[self.protocol]
        async with limiter:
            prompts = [prefix + suffix for suffix in suffixes]
            sent = sum(map(len, prompts))
            body = spoken.body(self.model, self.answers, prompts)
            reply = await self.server.call(connections, "POST", spoken.path, body)
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


def _result(call: Future[list[float]]) -> list[float]:
    while not call.done():
        wait([call], GLANCE)
    return call.result()


def _batches(suffixes: Sequence[Tokens]) -> list[Sequence[Tokens]]:
    return [suffixes[start : start + _PROMPTS_PER_CALL] for start in range(0, len(suffixes), _PROMPTS_PER_CALL)]
