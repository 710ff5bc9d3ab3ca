"""A summariser whole: segments, prompts, plans, the runner on one backend, and what is told of its work."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from trsr.config import SummaryConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Decoding, Generator
from trsr.prompts.items import ItemTexts
from trsr.prompts.summarizing import SummarizingPrompts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.counts import SummaryCounts
from trsr.summaries.extractive import Extractive
from trsr.summaries.hierarchical import hierarchical
from trsr.summaries.plan import Plan, SummaryPrompts
from trsr.summaries.quality import Quality, other_decoding
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Job, Judge, Profile, SummaryRunner
from trsr.summaries.segments import Segmenter, Segments
from trsr.summaries.store import SummaryStore

_LLM_PLANS: dict[str, Callable[[Sequence[Sequence[str]], SummaryPrompts], Plan]] = {
    "recurrent": recurrent,
    "hierarchical": hierarchical,
}
METHODS = (*_LLM_PLANS, "extractive")

# settings that say where and how fast, not what, and the template set, whose fingerprint says more than its name; all
# others are part of a profile's inputs
_WITHOUT_EFFECT = {"backend", "model", "dtype", "batch_size", "store", "template"}


def check_method(method: str) -> None:
    """Raise `ConfigError` for an unknown method."""
    if method not in METHODS:
        raise ConfigError(f'summarize: no method "{method}"; there are {", ".join(METHODS)}')


@dataclass(frozen=True)
class Wanted:
    """A summary to be made, of a user's `segments`; `name` tells it from others."""

    name: str
    user: str
    segments: Segments


class Summarizer:
    """Writes summaries of histories over one catalogue with one LLM, keeping every call in `store`.

    `catalogue` maps item ids to attribute values. Longer histories than `max_history` events lose their oldest blocks.
    The extractive method does without `chat`, unless blocks are cut by tokens.
    """

    def __init__(
        self,
        generator: Generator,
        chat: ChatFormat | None,
        templates: TemplateSet,
        config: SummaryConfig,
        store: SummaryStore,
        catalogue: Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str],
        max_history: int | None = None,
    ) -> None:
        self.generator, self._chat, self.config, self.store = generator, chat, config, store
        self.items = ItemTexts(catalogue, attributes, templates, chat)
        self.segment = Segmenter(config, lambda item: self.prompts.item_tokens(item), max_history)
        self._templates, self._catalogue, self._attributes = templates, catalogue, tuple(attributes)
        self._quality = Quality(templates, config, lambda text: self.prompts.finish(text))
        self._grounded: dict[str, tuple[float, int]] = {}  # sum and number by method
        self._item_digests: dict[str, bytes] = {}
        self._settings_digests: dict[str, bytes] = {}
        form = tuple(templates.form.values()) if config.form == "structured" else ()
        local = config.backend.kind == "local"
        self.decoding = Decoding(
            config.max_new_tokens,
            config.repetition_penalty,
            config.no_repeat_ngram if local else 0,  # no server has it, and what is not followed must not be in a key
            grounded=config.grounded is True,
            form=form,
        )
        retry = other_decoding(self.decoding, samples=not local)
        self.judge = Judge(self._quality.examine, retry, lambda items: self.extractive.summary(items))
        self._runner = SummaryRunner(generator, store, self.decoding, self.judge)

    @property
    def chat(self) -> ChatFormat:
        """The format of the LLM's prompts."""
        assert self._chat is not None
        return self._chat

    @cached_property
    def prompts(self) -> SummarizingPrompts:
        """The prompts of the LLM. Raises `ConfigError` where their budget cannot hold a block."""
        return SummarizingPrompts(self._templates, self.items, self.chat, self.config)

    @cached_property
    def extractive(self) -> Extractive:
        """What stands in for an LLM; it reads the whole catalogue, so it is made when it is first needed."""
        return Extractive(self._catalogue, self._attributes, self._templates, self.config.form)

    @property
    def counts(self) -> SummaryCounts:
        """What was done so far, over all methods."""
        return self._runner.counts

    def summaries(
        self, method: str, wanted: Iterable[Wanted], on_progress: Callable[[SummaryCounts], None] | None = None
    ) -> Iterator[tuple[Wanted, Profile]]:
        """Every summary that is wanted, as they get done."""
        asked: dict[str, Wanted] = {}

        def jobs() -> Iterator[Job]:
            for one in wanted:
                asked[one.name] = one
                yield Job(one.name, one.user, self.plan(method, one.segments.blocks))

        for job, profile in self._runner.run(jobs(), on_progress or (lambda counts: None)):
            one = asked.pop(job.name)
            self._weigh(method, one.segments, profile)
            yield one, profile

    def plan(self, method: str, blocks: Sequence[tuple[str, ...]], prompts: SummaryPrompts | None = None) -> Plan:
        """The calls that one summary takes, with `prompts` in place of the summariser's own where they are given."""
        if method == "extractive":
            return self._without_calls([item for block in blocks for item in block])
        return _LLM_PLANS[method](blocks, prompts or self.prompts)

    def inputs(self, method: str, segments: Segments, last_time: int | None = None) -> str:
        """A digest over all that a summary is made from and by, and up to when: equal inputs, equal profile.

        Not part of it is the rest of the catalogue, except for the extractive method: with an LLM it decides only what
        stands in for a text of no use.
        """
        digest = blake2b(self._settings_digest(method), digest_size=16)
        digest.update(f"{segments.events} {last_time}".encode())
        for block in segments.blocks:
            digest.update(len(block).to_bytes(4, "big"))
            for item in block:
                digest.update(self._item_digest(item))
        return digest.hexdigest()

    def usage(self) -> dict[str, Any]:
        """The LLM, calls and tokens over all methods, and how good the texts are, for the manifest."""
        counts = self.counts
        return {
            "model": self.generator.fingerprint,
            "calls": asdict(counts.total),
            "of_these_made_now": asdict(counts.made),
            "grounded": self.decoding.grounded,
            "faults": dict(counts.faults),
            "retried": counts.retried,
            "replaced": dict(counts.replaced),
            "groundedness": {method: total / number for method, (total, number) in self._grounded.items()},
            "items_shortened": len(self.items.shortened),
            "summaries_shortened": self.prompts.summaries_shortened if self._chat is not None else 0,
        }

    def _without_calls(self, history: Sequence[str]) -> Plan:
        yield from ()
        return self.extractive.summary(history)

    def _weigh(self, method: str, segments: Segments, profile: Profile) -> None:
        """Add the groundedness of a summary to the mean; an empty one says nothing, so it is not counted."""
        if profile.summary:
            texts = [self.items.whole(item) for block in segments.blocks for item in block]
            total, number = self._grounded.get(method, (0.0, 0))
            self._grounded[method] = total + self._quality.groundedness(profile.summary, texts), number + 1

    def _item_digest(self, item: str) -> bytes:
        if item not in self._item_digests:
            content = f"{item}\0{self.items.whole(item)}"
            self._item_digests[item] = blake2b(content.encode(), digest_size=16).digest()
        return self._item_digests[item]

    def _settings_digest(self, method: str) -> bytes:
        if method not in self._settings_digests:
            settings = self.config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
            content: list[Any] = [method, settings, self._attributes, self._templates.fingerprint]
            if method == "extractive":
                content.append([self._item_digest(item).hex() for item in self._catalogue])
            else:
                content += [self.generator.fingerprint, self.chat.fingerprint]
            self._settings_digests[method] = blake2b(json.dumps(content).encode(), digest_size=16).digest()
        return self._settings_digests[method]
