"""Summaries of the histories of an experiment's examples, by every method it asks for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from trsr.config import SummaryConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.openai_server import ServerGenerator
from trsr.llm.protocol import Decoding, Generator
from trsr.llm.vllm_engine import VllmGenerator
from trsr.llm.weights import Weights, load_model
from trsr.progress import stage
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.export import SummaryRow
from trsr.summaries.extractive import Extractive
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.plan import Plan, SummaryPrompts
from trsr.summaries.quality import Quality, other_decoding
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Job, Judge, SummaryCounts, SummaryRunner
from trsr.summaries.segments import segment_by_count
from trsr.summaries.store import SummaryStore

LLM_PLANS: dict[str, Callable[[Sequence[Sequence[str]], SummaryPrompts], Plan]] = {
    "recurrent": recurrent,
    "hierarchical": hierarchical,
}
METHODS = (*LLM_PLANS, "extractive")


def make_generator(config: SummaryConfig, chat: ChatFormat, weights: Weights, model: Any = None) -> Generator:
    """The backend of `config`; `model` is one on `weights` that is loaded already.

    Raises `ModelError` when the backend is not to be had, `ConfigError` for settings that it cannot follow.
    """
    backend = config.backend
    if backend.kind != "local" and (config.grounded or config.form == "structured"):
        raise ConfigError(
            f"summaries.backend {backend.kind}: only local weights keep to grounded words and a structured form; set "
            "summaries.grounded to false and summaries.form to text"
        )
    if backend.kind == "openai":
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
    if backend.kind == "vllm":
        return VllmGenerator(weights, chat, config.dtype, context=config.max_prompt_tokens + config.max_new_tokens)
    loaded = load_model(weights, config.dtype) if model is None else model
    _check_context(loaded, weights, config)
    return LocalGenerator(loaded, chat, weights.fingerprint, config.batch_size)


class Summarizer:
    """Writes summaries of item histories with one LLM, keeping every call in the store."""

    def __init__(
        self,
        generator: Generator,
        chat: ChatFormat,
        templates: TemplateSet,
        config: SummaryConfig,
        store: SummaryStore,
        catalogue: Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str],
    ) -> None:
        self.config, self._generator = config, generator
        self.prompts = SummarizingPrompts(templates, ItemTexts(catalogue, attributes, templates, chat), chat, config)
        self.extractive = Extractive(catalogue, attributes, templates, config.form)
        self._quality = Quality(templates, config, self.prompts.finish)
        self._groundedness: dict[str, list[float]] = {}
        form = tuple(templates.form.values()) if config.form == "structured" else ()
        decoding = Decoding(
            config.max_new_tokens,
            config.repetition_penalty,
            config.no_repeat_ngram,
            grounded=config.grounded,
            form=form,
        )
        retry = other_decoding(decoding, samples=config.backend.kind != "local")
        judge = Judge(self._quality.examine, retry, self.extractive.summary)
        self._runner = SummaryRunner(generator, store, decoding, judge)

    def usage(self) -> dict[str, Any]:
        """The LLM, calls and tokens over all methods, and how good the texts are, for the manifest."""
        counts = self._runner.counts
        return {
            "model": self._generator.fingerprint,
            "calls": asdict(counts.total),
            "of_these_made_now": asdict(counts.made),
            "faults": dict(counts.faults),
            "retried": counts.retried,
            "replaced": dict(counts.replaced),
            "groundedness": {method: fmean(values) for method, values in self._groundedness.items() if values},
            "items_shortened": len(self.prompts.items.shortened),
            "summaries_shortened": self.prompts.summaries_shortened,
        }

    def summarize(
        self, method: str, histories: Iterable[tuple[str, str, Sequence[str]]], total: int
    ) -> Iterator[SummaryRow]:
        """One row per (example id, user id, history), in order; `total` is how many there are."""
        blocks_of: dict[str, list[tuple[str, ...]]] = {}
        grounded = self._groundedness.setdefault(method, [])

        def jobs() -> Iterator[Job]:
            for example_id, user_id, history in histories:
                blocks = segment_by_count(history, self.config.block_size)
                blocks_of[example_id] = blocks
                yield Job(example_id, user_id, self._plan(method, blocks))

        with stage(f"summaries, {method}", total) as progress:

            def show(counts: SummaryCounts) -> None:
                progress.update(counts.users - before, f"{counts.made.calls} calls, {counts.found.calls} found")

            before = self._runner.counts.users
            for job, profile in self._runner.run(jobs(), show):
                blocks = blocks_of.pop(job.name)
                texts = [self.prompts.items.whole(item) for block in blocks for item in block]
                grounded.append(self._quality.groundedness(profile.summary, texts))
                yield SummaryRow(job.name, job.user, method, blocks, profile)
            progress.update(total)

    def _plan(self, method: str, blocks: Sequence[tuple[str, ...]]) -> Plan:
        if method == "extractive":
            return self._without_calls([item for block in blocks for item in block])
        return LLM_PLANS[method](blocks, self.prompts)

    def _without_calls(self, history: Sequence[str]) -> Plan:
        yield from ()
        return self.extractive.summary(history)


def _check_context(model: Any, weights: Weights, config: SummaryConfig) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    needed = config.max_prompt_tokens + config.max_new_tokens
    if context is not None and needed > context:
        raise ConfigError(
            f"summaries.max_prompt_tokens {config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}: "
            f"{weights.name} has a context of {context} tokens; lower them"
        )
