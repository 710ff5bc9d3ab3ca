"""Text generation through `/v1/chat/completions` of an OpenAI-compatible server, with many requests in flight.

Servers differ in what they do with the start of an answer and in what they call their settings; `_DIALECTS` has what
was read in the sources of vLLM (`entrypoints/openai/chat_completion/protocol.py` at 002032ee), SGLang
(`srt/entrypoints/openai/protocol.py` at 004c82e0), llama.cpp (`tools/server/server-common.cpp` at 006639c3, pull
request 23012) and Ollama (`openai/openai.go` at 00988753).
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from trsr.errors import ConfigError, ModelError
from trsr.llm.budget import Budget
from trsr.llm.http import ATTEMPTS, GLANCE, ModelServer
from trsr.llm.markers import plain_text
from trsr.llm.protocol import Call, Decoding, Generation, Prompt

AnswerStart = Literal["auto", "continue", "tell"]

_PATH = "/v1/chat/completions"
_TEMPLATE_TOKENS = 256  # more than chat templates add around the messages
_LEAD_IN = r"(?:[^\n]{0,100}:[ \t]*\n)?[\s\"'“‘*_`>#-]*"


@dataclass(frozen=True)
class _Dialect:
    """How a kind of server is spoken to.

    `continues`: it goes on from an assistant message at the end. `limit` and `repetition` name its settings for the
    number of new tokens and for the repetition penalty, where it has one; `more` is always sent.
    """

    continues: bool = False
    limit: str = "max_tokens"
    repetition: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


_DIALECTS = {
    "vllm": _Dialect(True, repetition="repetition_penalty"),
    "sglang": _Dialect(True, repetition="repetition_penalty"),
    # it refuses to continue an answer while its template may think first
    "llamacpp": _Dialect(True, repetition="repeat_penalty", more={"chat_template_kwargs": {"enable_thinking": False}}),
    "openai": _Dialect(limit="max_completion_tokens"),
}


@dataclass
class ServerReport:
    """What a server has done so far, for the manifest; `truncated` answers ended at their limit of new tokens."""

    calls: int = 0
    retries: int = 0
    truncated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values by name."""
        return asdict(self)


class ServerGenerator:
    """Continues prompts at `url` with `model`, `concurrency` requests at a time.

    `timeout` is the seconds that one request may take, `attempts` how often it is sent where the failure may pass,
    `api_key_env` the environment variable that holds the key, if there is one. `answer_start` says how the start of
    an answer is given: "continue" as the beginning of the assistant's message, "tell" in words at the end of the
    user's; "auto" continues where the server says that it is a vLLM, SGLang or llama.cpp. `max_calls` and `max_tokens`
    (read and written) bound what is spent in total. `more` is added to every request; a value of None takes a setting
    out of it.

    Making one asks the server for its models. Raises `ConfigError` for a setting that cannot be used, `ModelError`
    when the server cannot be reached or does not serve the model. A call that fails for good stops those behind it;
    `collect` gives what the others under way still bring before it raises.
    """

    def __init__(
        self,
        url: str,
        model: str,
        concurrency: int = 64,
        timeout: float = 300.0,
        api_key_env: str | None = None,
        attempts: int = ATTEMPTS,
        answer_start: AnswerStart = "auto",
        max_calls: int | None = None,
        max_tokens: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        if answer_start not in ("auto", "continue", "tell"):
            raise ConfigError(f"answer_start {answer_start!r}: unknown; take auto, continue or tell")
        self.model, self.report = model, ServerReport()
        self.slots = 2 * concurrency  # the next call is there when an answer comes, however busy the caller is
        self.server = ModelServer(url, concurrency, timeout, api_key_env, attempts)
        self.server.on_retry = self._count_retry
        self._under_way = 0
        self._told: list[tuple[str, Generation] | None] = []  # done in this turn of the event loop; None has failed
        self._done: SimpleQueue[list[tuple[str, Generation] | None]] = SimpleQueue()
        self._failure: Exception | None = None
        with ExitStack() as opened:
            self._portal, self._connections = opened.enter_context(self.server.session())
            models = self._portal.call(self.server.call, self._connections, "GET", "/v1/models")
            card = self.server.card(models, model)
            self._budget = self._portal.call(Budget, max_calls, max_tokens)
            self._waiting = opened.enter_context(self._portal.wrap_async_context_manager(self._workers()))
            self._opened = opened.pop_all()
        kind = _kind_of(self.server.url, card)
        self._dialect = _DIALECTS.get(kind, _Dialect())
        self.continues = self._dialect.continues if answer_start == "auto" else answer_start == "continue"
        self._more = {**self._dialect.more, **(more or {})}
        start = "continued" if self.continues else "told"
        self.fingerprint = "/".join([kind, model, start, *([json.dumps(more, sort_keys=True)] if more else [])])

    def submit(self, calls: Sequence[Call]) -> None:
        """Take up calls; those for which no connection is free wait for one."""
        self._under_way += len(calls)
        self._portal.start_task_soon(self._take, list(calls))

    def collect(self) -> list[tuple[str, Generation]]:
        """Wait for an answer; gives all that are there. Raises `ModelError` once nothing else will come."""
        done: list[tuple[str, Generation]] = []
        while self._under_way and not (done and self._done.empty()):
            try:
                told = self._done.get(timeout=GLANCE)
            except Empty:
                continue
            self._under_way -= len(told)
            done += filter(None, told)
        if not done and self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return done

    def close(self) -> None:
        """Cancel what is under way and hang up; the server then drops it."""
        self._under_way = 0
        self._opened.close()

    @asynccontextmanager
    async def _workers(self) -> AsyncIterator[MemoryObjectSendStream[Call]]:
        """A worker for every connection; gives what they take calls from, and stops them in the end."""
        sending, receiving = anyio.create_memory_object_stream[Call](math.inf)
        async with anyio.create_task_group() as workers, sending, receiving:
            for _ in range(self.server.concurrency):
                workers.start_soon(self._work, receiving)
            try:
                yield sending
            finally:
                workers.cancel_scope.cancel()

    def _take(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._waiting.send_nowait(call)

    async def _work(self, calls: MemoryObjectReceiveStream[Call]) -> None:
        async for call in calls:
            made = None
            try:
                if self._failure is None:  # else it is given up
                    made = call.key, await self._make(call)
            except Exception as error:  # noqa: BLE001 - whatever it is, `collect` raises it
                self._failure = self._failure or error
            self._told.append(made)
            if len(self._told) == 1:  # answers come in bunches, and waking the other thread for each takes long
                asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        told, self._told = self._told, []
        self._done.put(told)

    def _count_retry(self) -> None:
        self.report.retries += 1

    async def _make(self, call: Call) -> Generation:
        body = self._body(call.prompt, call.decoding)
        sent = sum(len(message["content"].encode()) for message in body["messages"])
        most = sent + _TEMPLATE_TOKENS + call.decoding.max_new_tokens  # a token is a byte or more
        spent = 0
        await self._budget.take(most)
        try:
            reply = await self.server.call(self._connections, "POST", _PATH, body)
            generation = self._read(reply, call.prompt.start)
            spent = generation.tokens_in + generation.tokens_out
        finally:
            self._budget.settle(most, spent)
        return generation

    def _body(self, prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
        told = prompt.start and not self.continues
        asked = f"\n\nBegin your answer with these words and go on from there: {prompt.start}" if told else ""
        messages = [
            {"role": "system", "content": plain_text(prompt.system)},
            {"role": "user", "content": plain_text(prompt.user) + asked},
        ]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages[0 if prompt.system else 1 :],
            "temperature": decoding.temperature,
            "seed": decoding.seed,
            self._dialect.limit: decoding.max_new_tokens,
        }
        if self._dialect.repetition is not None:
            body[self._dialect.repetition] = decoding.repetition_penalty
        if prompt.start and self.continues:
            messages = [*body["messages"], {"role": "assistant", "content": prompt.start}]
            body |= {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}
        return {key: value for key, value in {**body, **self._more}.items() if value is not None}

    def _read(self, reply: Any, start: str) -> Generation:
        where = f"{self.server.url}{_PATH}"
        try:
            choice, usage = reply["choices"][0], reply["usage"]
            message, end = choice["message"], choice.get("finish_reason")
            tokens_in, tokens_out = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            said = self.server.quote(json.dumps(reply))
            raise ModelError(
                f"{where} answered without a message or its token counts ({said}); check that the server is "
                "OpenAI-compatible"
            ) from None
        if thought and not text:
            raise ModelError(
                f"{where} gave {tokens_out} tokens of reasoning and no answer; switch thinking off or raise "
                "max_new_tokens"
            )
        if not isinstance(text, str) or end == "content_filter":
            text = ""  # withheld, which is this call's trouble and not the run's: an empty text is tried again
        self.report.calls += 1
        self.report.truncated += end == "length"
        self.report.tokens_in += tokens_in
        self.report.tokens_out += tokens_out
        kept = text.encode(errors="replace").decode().replace("\0", "")  # half a surrogate pair is no text, NUL a trap
        return Generation(_behind(start, kept), tokens_in, tokens_out)


def _kind_of(url: str, card: Mapping[str, Any]) -> str:
    """What kind of server it says it is; "openai" is the service itself, which names many owners of models."""
    owner = str(card.get("owned_by"))
    if url.startswith("https://api.openai.com"):
        return "openai"
    return owner if owner in _DIALECTS else "other"


def _behind(start: str, text: str) -> str:
    """What `text` says behind the start of the answer, which a model that was told of it repeats, or most of it."""
    words = r"\s+".join(re.escape(word) for word in start.split())
    found = re.match(_LEAD_IN + words, text, re.IGNORECASE) if words else None
    return text[found.end() :] if found else text
