"""The ranking prompt as token ids: one prefix for a user, one suffix for each candidate.

Parts in order: instruction, summary, recent items | candidate, question. Each item and the summary have a budget
of their own. Where the whole is still longer than `max_tokens`, the oldest recent items give way one by one, then
the end of the summary. The candidate, the question and the answer are never cut here; all that was shortened
is counted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

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
    """What happened to prompts so far, for the manifest; tokens are as scored, the prefix counted once a user."""

    prompts: int = 0
    candidates: int = 0
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    longest_prompt: int = 0
    summaries_shortened: int = 0
    prompts_with_recent_items_dropped: int = 0
    recent_items_dropped: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values by name."""
        return asdict(self)


class RankingPrompts:
    """Builds the prompts of one dataset for one tokenizer; training and scoring both use it."""

    def __init__(self, templates: TemplateSet, items: ItemTexts, chat: ChatFormat, config: PromptConfig) -> None:
        self.items, self.chat, self.config, self.templates = items, chat, config, templates
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
        suffixes = tuple(self._suffix(text) for text in self.items.texts(candidates, self.config.candidate_tokens))
        room = self.config.max_tokens - max(len(suffix) for suffix in suffixes)
        texts = self._recent_texts(history)
        whole = make_inert(summary)
        short = self._short_summary(whole, self.config.summary_tokens)
        first = 0
        while len(self._prefix(short, texts[first:])) > room and first < len(texts):
            first += 1
        self.counts.recent_items_dropped += first
        self.counts.prompts_with_recent_items_dropped += first > 0
        recent = tuple(texts[first:])
        short, prefix = self._fit_summary(short, recent, room)
        self.counts.summaries_shortened += short != whole
        self._count(prefix, suffixes)
        return RankingPrompt(prefix, suffixes, short, recent)

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

    def _suffix(self, text: str) -> tuple[int, ...]:
        return self.chat.encode(self.templates.pieces("rank_candidate", {"candidate": text})) + self._question

    def _recent_texts(self, history: Sequence[str]) -> list[str]:
        latest = history[-self.config.recent_items :] if self.config.recent_items else ()
        return self.items.texts(latest, self.config.item_tokens)

    def _short_summary(self, summary: str, budget: int) -> str:
        return self.chat.shorten(summary, budget)[0]

    def _count(self, prefix: tuple[int, ...], suffixes: tuple[tuple[int, ...], ...]) -> None:
        self.counts.prompts += 1
        self.counts.candidates += len(suffixes)
        self.counts.prefix_tokens += len(prefix)
        self.counts.suffix_tokens += sum(len(suffix) for suffix in suffixes)
        longest = len(prefix) + max(len(suffix) for suffix in suffixes)
        self.counts.longest_prompt = max(self.counts.longest_prompt, longest)
