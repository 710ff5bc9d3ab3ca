"""The ranking prompt as token ids: one prefix for a user, one suffix for each candidate.

Parts in order: instruction, summary, recent items | candidate, question. Each item and the summary have a budget
of their own. Where the whole is still longer than `max_tokens`, the oldest recent items give way one by one, then
the end of the summary. The candidate, the question and the answer are never cut here; all that was shortened
is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate

from trsr.config import PromptConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece
from trsr.prompts.inert import make_inert
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet

_SMALLEST_SUMMARY = 8


@dataclass(frozen=True)
class RankingPrompt:
    """Token ids for one user, and the texts of the prefix that they were made from."""

    prefix: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    summary: str
    recent: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are read, the prefix once."""
        return len(self.prefix) + sum(map(len, self.suffixes))


@dataclass
class PromptCounts:
    """What happened to prompts so far, for the manifest; tokens are as scored, the prefix counted once a user.

    `prompts_shortened` are those that show less than there is: an item text or a summary is cut, or a recent item that
    the settings ask for is dropped.
    """

    prompts: int = 0
    candidates: int = 0
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    longest_prompt: int = 0
    prompts_shortened: int = 0
    summaries_shortened: int = 0
    prompts_with_recent_items_dropped: int = 0
    recent_items_dropped: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values by name."""
        return asdict(self)


class RankingPrompts:
    """Builds the prompts of one dataset for one tokenizer; training and scoring both use it.

    `popularity` are the levels of items where `config.popularity_levels` is given; an item without one is of level 1.
    """

    def __init__(
        self,
        templates: TemplateSet,
        items: ItemTexts,
        chat: ChatFormat,
        config: PromptConfig,
        popularity: Mapping[str, int] | None = None,
    ) -> None:
        if (popularity is None) != (config.popularity_levels is None):
            raise ConfigError("prompt.popularity_levels and levels of the items go together; give both or neither")
        if config.popularity_levels and not _tells_popularity(templates):
            raise ConfigError(
                f"prompt.popularity_levels: {templates.name}/rank_candidate.j2 shows no popularity; write "
                "{{ popularity }} of {{ levels }} into it"
            )
        self.items, self.chat, self.config, self.templates = items, chat, config, templates
        self._popularity = popularity or {}
        self.answers = chat.answers(templates.yes, templates.no)
        self.counts = PromptCounts()
        self._question = chat.encode((*templates.pieces("rank_question"), Piece(chat.after, True)))
        self._instruction = (
            chat.opening + chat.encode(templates.pieces("rank_system")) + chat.encode((Piece(chat.between, True),))
        )

    def build(self, summary: str, history: Sequence[str], candidates: Sequence[str]) -> RankingPrompt:
        """The prompt of a user with this summary ("" for none) and history (item ids, oldest first).

        Raises `ConfigError` when `max_tokens` cannot hold even the parts that are never cut.
        """
        texts = self.items.texts(candidates, self.config.candidate_tokens)
        suffixes = tuple(self._suffix(item, text) for item, text in zip(candidates, texts, strict=True))
        room = self.config.max_tokens - max(len(suffix) for suffix in suffixes)
        shown = self.recent(history)
        texts = self.items.texts(shown, self.config.item_tokens)
        whole = make_inert(summary)
        short = self._short_summary(whole, self.config.summary_tokens)
        first = dropped = 0
        while len(self._prefix(short, texts[first:])) > room and first < len(texts):
            first += 1
        if self.config.recent != "context":  # which is all that there is room for, so nothing is missing
            dropped = first
            self.counts.recent_items_dropped += dropped
            self.counts.prompts_with_recent_items_dropped += dropped > 0
        recent = tuple(texts[first:])
        short, prefix = self._fit_summary(short, recent, room)
        self.counts.summaries_shortened += short != whole
        cut = self._any_cut(candidates, self.config.candidate_tokens)
        cut = cut or self._any_cut(shown[first:], self.config.item_tokens)
        self.counts.prompts_shortened += cut or dropped > 0 or short != whole
        self._count(prefix, suffixes)
        return RankingPrompt(prefix, suffixes, short, recent)

    def _any_cut(self, items: Sequence[str], budget: int) -> bool:
        return any((item, budget) in self.items.shortened for item in items)

    def _fit_summary(self, summary: str, recent: Sequence[str], room: int) -> tuple[str, tuple[int, ...]]:
        budget = self.config.summary_tokens
        prefix = self._prefix(summary, recent)
        while len(prefix) > room and summary and budget >= _SMALLEST_SUMMARY:
            budget -= max(len(prefix) - room, 1)
            summary = self._short_summary(summary, max(budget, 1)) if budget >= _SMALLEST_SUMMARY else ""
            prefix = self._prefix(summary, recent)
        if len(prefix) > room:
            needed = len(prefix) + self.config.max_tokens - room
            raise ConfigError(
                f"prompt.max_tokens {self.config.max_tokens}: instruction, candidate and question alone need {needed} "
                "tokens; raise it or lower prompt.candidate_tokens"
            )
        return summary, prefix

    def _prefix(self, summary: str, recent: Sequence[str]) -> tuple[int, ...]:
        parts = self.templates.pieces("rank_summary", {"summary": summary}) if summary else ()
        if recent:
            parts += self.templates.pieces("rank_recent", {"recent": list(recent)})
        return self._instruction + self.chat.encode(parts)

    def _suffix(self, item: str, text: str) -> tuple[int, ...]:
        levels = self.config.popularity_levels
        told = {"popularity": self._popularity.get(item, 1), "levels": levels} if levels else {}
        pieces = self.templates.pieces("rank_candidate", {"candidate": text}, **told)
        return self.chat.encode(pieces) + self._question

    def recent(self, history: Sequence[str]) -> Sequence[str]:
        """The items of a history (ids, oldest first) that a prompt shows where `max_tokens` has room for them."""
        config = self.config
        if config.recent == "items":
            return config.latest(history)
        room = config.max_tokens
        if config.recent == "budget":
            room = config.recent_items * config.item_tokens + config.summary_tokens
        latest = history[-room:]  # a text has a token at least
        texts = self.items.texts(latest, config.item_tokens)
        shown = sum(tokens <= room for tokens in accumulate(reversed(self.chat.count_all(texts))))
        return latest[len(latest) - shown :]

    def _short_summary(self, summary: str, budget: int) -> str:
        return self.chat.shorten(summary, budget)[0]

    def _count(self, prefix: tuple[int, ...], suffixes: tuple[tuple[int, ...], ...]) -> None:
        self.counts.prompts += 1
        self.counts.candidates += len(suffixes)
        self.counts.prefix_tokens += len(prefix)
        self.counts.suffix_tokens += sum(len(suffix) for suffix in suffixes)
        longest = len(prefix) + max(len(suffix) for suffix in suffixes)
        self.counts.longest_prompt = max(self.counts.longest_prompt, longest)


def _tells_popularity(templates: TemplateSet) -> bool:
    texts = {templates.text("rank_candidate", candidate="", popularity=level, levels=2) for level in (1, 2)}
    return len(texts) > 1
