"""The ranker: a causal language model that answers yes or no to each candidate of a user."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trsr.config import AttentionPath, PromptConfig, RankerConfig
from trsr.data.scoring import RankingRequest, Scores
from trsr.errors import ConfigError, ModelError
from trsr.llm.chat import Answers, ChatFormat
from trsr.llm.weights import Weights, load_model, load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.ranking import RankingPrompt, RankingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.ranking import folder
from trsr.ranking.attention_choice import AttentionChoice, choose_attention
from trsr.ranking.families import check_exact, check_family, check_length
from trsr.ranking.scoring import LocalScoring, affordable_tokens
from trsr.ranking.served import Protocol, ServedScoring
from trsr.ranking.shared_prefix import AnswerHead

Item = Mapping[str, Any]


@dataclass(frozen=True)
class Ranked:
    """A candidate in its place: its index in what was given, log-odds of yes and the probability of yes."""

    index: int
    log_odds: float
    probability: float


@dataclass(frozen=True)
class Ranker:
    """A model with its tokenizer, templates, attributes and prompt budgets.

    `pass_tokens`, `attention` and `prefix_cache_mb` say how it scores, as in `RankerConfig`; with `served` a server
    does, and `model` is None. `summary_method` is the kind of summary that the model was tuned with, "none" for none;
    `min_rating` and `seed` say which events it was tuned on and how their ties in time were ordered. `whole` says
    that every weight was tuned. `popularity` are the levels of items (`trsr.data.popularity`) that prompts tell where
    `prompt.popularity_levels` is given.

    Make one from a model folder with `from_pretrained` or `from_server`, or from base weights with `from_base`.
    """

    model: Any
    chat: ChatFormat
    templates: TemplateSet
    attributes: tuple[str, ...]
    prompt: PromptConfig
    weights: Weights
    pass_tokens: int | None = None
    attention: AttentionPath = "auto"
    prefix_cache_mb: int = 0
    served: ServedScoring | None = None
    summary_method: str = "none"
    min_rating: float | None = None
    seed: int = 7
    whole: bool = False
    popularity: Mapping[str, int] | None = None

    @classmethod
    def from_base(
        cls, config: RankerConfig, prompt: PromptConfig, attributes: Sequence[str], model: Any = None
    ) -> "Ranker":
        """An untuned ranker on base weights; `model` is one loaded already.

        Raises `ModelError` when the weights cannot be had or the model cannot share a prefix exactly, `ConfigError`
        when a setting does not fit the model.
        """
        weights = resolve_weights(config.base)
        chat = ChatFormat(load_tokenizer(weights))
        model = load_model(weights, config.dtype, config.quantization) if model is None else model
        ranker = cls(model, chat, TemplateSet(prompt.template), tuple(attributes), prompt, weights)
        return ranker.with_settings(config).checked()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        base: str | None = None,
        dtype: str | None = None,
        settings: RankerConfig | None = None,
    ) -> "Ranker":
        """A tuned ranker from its model folder.

        `base` names the base weights where they are not to be found under the recorded name; `dtype` is another one
        than it was tuned in, "auto" for what suits the device; `settings` say how it scores. Raises `ModelError` when
        the folder is not a ranker's or the base weights are not the ones it was tuned on.
        """
        return folder.load(cls, Path(path), base, dtype).with_settings(settings or RankerConfig()).checked()

    @classmethod
    def from_server(
        cls,
        path: str | Path,
        url: str,
        model: str,
        protocol: Protocol = "auto",
        api_key_env: str | None = None,
        concurrency: int = 16,
        timeout: float = 300.0,
    ) -> "Ranker":
        """A tuned ranker whose model a vLLM or SGLang server at `url` holds under the name `model`.

        `path` is the model folder, for prompts and tokenizer; serve what `trsr export --format merged` made of it.
        `api_key_env` names the environment variable that holds the server's key; the rest is as in `ServedScoring`.
        Raises `ModelError` when the server cannot be used, `ConfigError` when its context is too short for
        `prompt.max_tokens`.
        """
        ranker = folder.load_without_weights(cls, Path(path))
        served = ServedScoring(url, model, ranker.answers, protocol, concurrency, timeout, api_key_env)
        if served.context is not None and served.context <= ranker.prompt.max_tokens:
            raise ConfigError(
                f"{url}: a context of {served.context} tokens, prompt.max_tokens is {ranker.prompt.max_tokens}; serve "
                "the model with a context of one more at least"
            )
        return replace(ranker, served=served)

    def save_pretrained(self, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
        """Write adapter, tokenizer, templates, `trsr.json` and a model card; the folder appears whole or not at all.

        `card` holds data, settings and results for the card. Raises `ConfigError` when `path` cannot be written.
        """
        return folder.save(self, Path(path), card or {})

    @cached_property
    def answers(self) -> Answers:
        """The two answer tokens."""
        return self.chat.answers(self.templates.yes, self.templates.no)

    @cached_property
    def head(self) -> AnswerHead:
        """The answer rows of the output head."""
        return AnswerHead.of(self.model, self.answers.yes_id, self.answers.no_id)

    @cached_property
    def attention_choice(self) -> AttentionChoice:
        """How packed rows are attended to, and what was measured to choose it."""
        return choose_attention(self.model, self.attention, self.pass_tokens or affordable_tokens(self.model))

    @cached_property
    def scoring(self) -> LocalScoring | ServedScoring:
        """What computes the log-odds, with its report; a local one keeps the prefixes of returning users."""
        if self.served is not None:
            return self.served
        path, cache_bytes = self.attention_choice.path, self.prefix_cache_mb << 20
        return LocalScoring(self.model, self.answers, path, self.pass_tokens, cache_bytes)

    @property
    def dtype(self) -> str:
        """The dtype that the base weights compute in."""
        return str(self.model.dtype).removeprefix("torch.")

    def with_model(self, model: Any) -> "Ranker":
        """The same ranker on another (tuned) model."""
        return replace(self, model=model)

    def with_settings(self, config: RankerConfig) -> "Ranker":
        """The same ranker, scoring as `config` says."""
        settings = {name: getattr(config, name) for name in ("pass_tokens", "attention", "prefix_cache_mb")}
        return replace(self, **settings)

    def prompts(self, items: Mapping[str, Item]) -> RankingPrompts:
        """Prompts over a catalogue: item id to attribute values."""
        texts = ItemTexts(items, self.attributes, self.templates, self.chat, self.prompt.show_ids)
        return RankingPrompts(self.templates, texts, self.chat, self.prompt, self.popularity)

    def score(self, prompts: Iterable[RankingPrompt]) -> Iterator[Scores]:
        """Log-odds of yes, (n candidates,) fp32, of each prompt: in input order, streamed, several users a pass."""
        return self.scoring.score(prompts)

    def log_odds(self, prompt: RankingPrompt) -> Scores:
        """Log-odds of yes, (n candidates,) fp32, of one user's candidates."""
        return next(self.score([prompt]))

    def rank(self, history: Sequence[Item], candidates: Sequence[Item], summary: str = "") -> list[Ranked]:
        """Rank candidates for one user, best first; items are mappings of attribute names to values.

        `history` is oldest first; `summary` is the user's preference summary, "" for none. Raises `ConfigError`
        when there is no candidate, an item has none of the ranker's attributes, or the ranker shows ids.
        """
        prompts, had, offered = self.plain_prompts(history, candidates, "rank")
        prompt = prompts.build(summary, had, offered)
        scores = self.log_odds(prompt)
        order = np.argsort(-scores, kind="stable")
        odds = torch.from_numpy(scores)
        return [Ranked(int(index), float(odds[index]), float(torch.sigmoid(odds[index]))) for index in order]

    def plain_prompts(
        self, history: Sequence[Item], candidates: Sequence[Item], what: str
    ) -> tuple[RankingPrompts, list[str], list[str]]:
        """Prompts over plain items, with ids given to history and candidates; errors begin with `what`.

        Raises `ConfigError` when there is no candidate, an item has none of the ranker's attributes, or the ranker
        shows ids or tells popularity.
        """
        if not candidates:
            raise ConfigError(f"{what}: no candidates given")
        if self.prompt.show_ids:
            raise ConfigError(
                f"{what}: this ranker shows item ids, which plain items lack; build prompts with `prompts` and ids"
            )
        items = [*history, *candidates]
        if self.prompt.popularity_levels:
            raise ConfigError(
                f"{what}: this ranker tells how popular items are, by their ids; build prompts with `prompts` and ids"
            )
        if not all(any(name in item for name in self.attributes) for item in items):
            raise ConfigError(f"{what}: an item has none of the attributes {', '.join(self.attributes)}")
        rows = {str(index): {name: item.get(name) for name in self.attributes} for index, item in enumerate(items)}
        ids = list(rows)
        return self.prompts(rows), ids[: len(history)], ids[len(history) :]

    def checked(self) -> "Ranker":
        """The same ranker, once it is known to score exactly.

        Raises `ModelError` by name for a model that cannot share a prefix, `ConfigError` when `prompt.max_tokens` is
        more than it reads.
        """
        check_length(self.model.config, self.prompt.max_tokens, f"prompt.max_tokens {self.prompt.max_tokens}")
        check_family(self.model)
        check_exact(self.model, self.head, (self.answers.yes_id, self.answers.no_id), self.attention_choice.path)
        return self


class RankerScorer:
    """A ranker behind the `Scorer` protocol: requests of one dataset, summaries by example id."""

    def __init__(
        self,
        ranker: Ranker,
        prompts: RankingPrompts,
        summaries: Mapping[str, str],
    ) -> None:
        self.ranker, self.prompts, self.summaries = ranker, prompts, summaries

    def score(self, requests: Iterable[RankingRequest]) -> Iterator[Scores]:
        """Log-odds (n candidates,) for each request, read a little ahead.

        Raises `ModelError` naming the example whose scores are bad.
        """
        waiting: deque[str] = deque()

        def prompts() -> Iterator[RankingPrompt]:
            for request in requests:
                waiting.append(request.example_id)
                summary = self.summaries.get(request.example_id, "")
                yield self.prompts.build(summary, request.history, request.candidates)

        scores = self.ranker.score(prompts())
        while True:
            try:
                found = next(scores, None)
            except ModelError as error:
                raise ModelError(f"example {waiting[0]}: {error}") from None
            if found is None:
                return
            waiting.popleft()
            yield found
