"""The backend that the settings name, loaded when it is first asked for something."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trsr.config import SummaryConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Call, Generation, Generator
from trsr.llm.vocabulary import can_be_read
from trsr.llm.weights import Weights, dtype_name, load_config, load_model, load_tokenizer, resolve_weights

_SMALL = 2 * 10**9  # bytes of weights; about a billion parameters in 16 bits


@dataclass(frozen=True)
class Source:
    """What a backend is made from: a model folder, the format of its prompts, and the model where it is in memory."""

    weights: Weights
    chat: ChatFormat
    model: Any = None

    @classmethod
    def of(cls, config: SummaryConfig) -> "Source":
        """The folder that the settings name; for a server its tokenizer is enough."""
        weights = resolve_weights(config.model, with_weights=config.backend.kind != "openai")
        return cls(weights, ChatFormat(load_tokenizer(weights)))


def decided(config: SummaryConfig, source: Source) -> SummaryConfig:
    """`config` with `grounded` decided where it is "auto".

    A small model asked freely invents titles (docs/explanation/summary-quality.md), a large one is left its own words,
    and so is one whose tokens cannot be told as text.
    """
    if config.grounded != "auto":
        return config
    small = config.backend.kind == "local" and source.weights.bytes < _SMALL
    return config.model_copy(update={"grounded": small and can_be_read(source.chat.tokenizer)})


def make_generator(config: SummaryConfig, source: Source) -> Generator:
    """The backend of `config`.

    A server is asked for its models at once; weights are loaded with the first call. Raises `ModelError` when the
    backend is not to be had, `ConfigError` for settings that it cannot follow.
    """
    backend = config.backend
    if backend.kind != "local" and config.grounded is True:
        raise ConfigError(
            f"summaries.backend {backend.kind}: only local weights can be held to grounded words; set "
            "summaries.grounded to false"
        )
    if backend.kind == "openai":
        from trsr.llm.openai_server import ServerGenerator

        assert backend.url is not None
        assert backend.model is not None
        return ServerGenerator(
            backend.url,
            backend.model,
            concurrency=backend.concurrency,
            timeout=backend.timeout,
            api_key_env=backend.api_key_env,
            answer_start=backend.answer_start,
            max_calls=backend.max_calls,
            max_tokens=backend.max_tokens,
            more=backend.more,
        )
    weights, chat = source.weights, source.chat
    _check_context(weights, config)
    if backend.kind == "vllm":
        from trsr.llm.vllm_engine import SLOTS, VllmGenerator, vllm_fingerprint

        context = config.max_prompt_tokens + config.max_new_tokens
        return LoadedLater(
            vllm_fingerprint(weights, config.dtype),
            SLOTS,
            lambda: VllmGenerator(weights, chat, config.dtype, context=context),
        )

    def load() -> Generator:
        from trsr.llm.local import LocalGenerator

        model = load_model(weights, config.dtype) if source.model is None else source.model
        return LocalGenerator(model, chat, weights.fingerprint, config.batch_size)

    return LoadedLater(f"{weights.fingerprint}/{dtype_name(config.dtype)}", config.batch_size, load)


class NoBackend:
    """What stands where an LLM would, for methods that ask none."""

    def __init__(self) -> None:
        self.fingerprint, self.slots = "", 1

    def submit(self, calls: Sequence[Call]) -> None:
        """Nothing can be asked."""
        raise AssertionError("a method without an LLM made a call")

    def collect(self) -> list[tuple[str, Generation]]:
        """Nothing was asked."""
        return []

    def close(self) -> None:
        """Nothing is held."""


class LoadedLater:
    """A backend that `load` makes at the first call, so that a run without calls waits for no weights."""

    def __init__(self, fingerprint: str, slots: int, load: Callable[[], Generator]) -> None:
        self.fingerprint, self.slots, self._load = fingerprint, slots, load
        self._loaded: Generator | None = None

    def submit(self, calls: Sequence[Call]) -> None:
        """Load the backend if need be and hand it the calls."""
        if self._loaded is None:
            self._loaded = self._load()
            assert self._loaded.fingerprint == self.fingerprint  # what is stored goes by the one told before
        self._loaded.submit(calls)

    def collect(self) -> list[tuple[str, Generation]]:
        """What the backend gives; nothing before it was loaded."""
        return [] if self._loaded is None else self._loaded.collect()

    def close(self) -> None:
        """Let go of the backend if it was loaded."""
        if self._loaded is not None:
            self._loaded.close()


def _check_context(weights: Weights, config: SummaryConfig) -> None:
    context = getattr(load_config(weights).get_text_config(), "max_position_embeddings", None)
    needed = config.max_prompt_tokens + config.max_new_tokens
    if context is not None and needed > context:
        raise ConfigError(
            f"summaries.max_prompt_tokens {config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}: "
            f"{weights.name} has a context of {context} tokens; lower them"
        )
