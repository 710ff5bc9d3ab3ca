"""Summaries of the histories of an experiment's examples, by every method it asks for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trsr.config import SummaryConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Decoding
from trsr.llm.weights import Weights
from trsr.progress import stage
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.export import SummaryRow
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.plan import Plan, SummaryPrompts
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import SummaryCounts, SummaryRunner
from trsr.summaries.segments import segment_by_count
from trsr.summaries.store import SummaryStore

PLANS: dict[str, Callable[[Sequence[Sequence[str]], SummaryPrompts], Plan]] = {
    "recurrent": recurrent,
    "hierarchical": hierarchical,
}


class Summarizer:
    """Writes summaries of item histories with one LLM, keeping every call in the store."""

    def __init__(
        self,
        model: Any,
        chat: ChatFormat,
        weights: Weights,
        templates: TemplateSet,
        config: SummaryConfig,
        store: SummaryStore,
        catalogue: Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str],
    ) -> None:
        self.config = config
        _check_context(model, weights, config)
        self.prompts = SummarizingPrompts(templates, ItemTexts(catalogue, attributes, templates, chat), chat, config)
        decoding = Decoding(config.max_new_tokens, config.repetition_penalty, config.no_repeat_ngram)
        generator = LocalGenerator(model, chat, weights.fingerprint, config.batch_size)
        self._fingerprint = generator.fingerprint
        self._runner = SummaryRunner(generator, store, decoding, self.prompts.finish)

    def usage(self) -> dict[str, Any]:
        """The LLM, and calls and tokens over all methods, for the manifest."""
        counts = self._runner.counts
        return {
            "model": self._fingerprint,
            "calls": asdict(counts.total),
            "of_these_made_now": asdict(counts.made),
            "items_shortened": len(self.prompts.items.shortened),
            "summaries_shortened": self.prompts.summaries_shortened,
        }

    def summarize(
        self, method: str, histories: Iterable[tuple[str, str, Sequence[str]]], total: int
    ) -> Iterator[SummaryRow]:
        """One row per (example id, user id, history), in order; `total` is how many there are."""
        blocks_of: dict[str, tuple[str, list[tuple[str, ...]]]] = {}

        def plans() -> Iterator[tuple[str, Plan]]:
            for example_id, user_id, history in histories:
                blocks = segment_by_count(history, self.config.block_size)
                blocks_of[example_id] = (user_id, blocks)
                yield example_id, PLANS[method](blocks, self.prompts)

        with stage(f"summaries, {method}", total) as progress:

            def show(counts: SummaryCounts) -> None:
                progress.update(counts.users - before, f"{counts.made.calls} calls, {counts.found.calls} found")

            before = self._runner.counts.users
            for example_id, profile in self._runner.run(plans(), show):
                user_id, blocks = blocks_of.pop(example_id)
                yield SummaryRow(example_id, user_id, method, blocks, profile)
            progress.update(total)


def _check_context(model: Any, weights: Weights, config: SummaryConfig) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    needed = config.max_prompt_tokens + config.max_new_tokens
    if context is not None and needed > context:
        raise ConfigError(
            f"summaries.max_prompt_tokens {config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}: "
            f"{weights.name} has a context of {context} tokens; lower them"
        )
