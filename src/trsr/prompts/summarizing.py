"""The prompts that summarise: a block of items, an update of a summary by a block, a merge of summaries."""

from collections.abc import Sequence
from typing import Literal

from trsr.config import SummaryConfig
from trsr.errors import ConfigError
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece, Prompt
from trsr.prompts.inert import make_inert
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet


class SummarizingPrompts:
    """Builds summarising prompts within `max_prompt_tokens`; the texts of items and summaries keep to budgets.

    `fan_in` is how many summaries one merge can hold, perhaps below 2. Raises `ConfigError` when the budget cannot
    hold one block.
    """

    def __init__(self, templates: TemplateSet, items: ItemTexts, chat: ChatFormat, config: SummaryConfig) -> None:
        self._templates, self.items, self._chat, self._config = templates, items, chat, config
        self._item_tokens = min(config.item_tokens, config.block_tokens or config.item_tokens)
        self._parts = "structured" if config.form == "structured" else "summary"
        self._system = templates.pieces(f"{self._parts}_system")
        # a structured answer has no start: the form gives every name, the first one too
        self._start = "" if config.form == "structured" else templates.text("summary_start").strip()
        self.start_tokens = len(chat.encode((Piece(self._start, True),)))
        self.summary_tokens = config.max_new_tokens + self.start_tokens
        if config.form == "structured":
            self.summary_tokens += 3 * len(templates.form)  # " | " takes more tokens than the line end it stands for
        self.summaries_shortened = 0
        self._check_block()
        self.fan_in = self._find_fan_in()

    def block(self, items: Sequence[str]) -> Prompt:
        """Summarise the first block of a history, or a block on its own."""
        return self._prompt("block", {"texts": self._texts(items)})

    def update(self, summary: str, items: Sequence[str]) -> Prompt:
        """Renew a summary by the next block."""
        return self._prompt("update", {"summary": self._short(summary), "texts": self._texts(items)})

    def merge(self, summaries: Sequence[str]) -> Prompt:
        """Bring summaries of several blocks together."""
        return self._prompt("merge", {"texts": [self._short(summary) for summary in summaries]})

    def frame_tokens(self, part: Literal["block", "update", "merge"]) -> tuple[int, int]:
        """The tokens of a prompt without data, and those that every text in it adds beside its own."""
        dash = len(self._chat.encode_piece(Piece("-", False)))
        lengths = []
        for count in (1, 2):
            data: dict[str, str | list[str]] = {"texts": ["-"] * count} | ({"summary": ""} if part == "update" else {})
            lengths.append(len(self._chat.encode_prompt(self._prompt(part, data))) - count * dash)
        each = lengths[1] - lengths[0]
        return lengths[0] - each, each

    def finish(self, generated: str) -> str:
        """The summary: the start that the template gives and what the model wrote behind it, on one line.

        The lines of a structured summary are joined by " | ", as the attributes of an item are.
        """
        lines = generated.splitlines() if self._config.form == "structured" else [f"{self._start} {generated}"]
        return make_inert(" | ".join(line.strip() for line in lines if line.strip()))

    def item_tokens(self, item: str) -> int:
        """The tokens of an item's text in a prompt."""
        return len(self._chat.encode_piece(Piece(self.items.text(item, self._item_tokens), False)))

    def _prompt(self, part: str, data: dict[str, str | list[str]]) -> Prompt:
        return Prompt(self._system, self._templates.pieces(f"{self._parts}_{part}", data), self._start)

    def _texts(self, items: Sequence[str]) -> list[str]:
        return self.items.texts(items, self._item_tokens)

    def _short(self, summary: str) -> str:
        text, cut = self._chat.shorten(make_inert(summary), self.summary_tokens)
        self.summaries_shortened += cut
        return text

    def _check_block(self) -> None:
        frame = self._prompt("update", {"summary": "", "texts": ["-"] * self._config.block_size})
        needed = len(self._chat.encode_prompt(frame)) + self.summary_tokens
        most = self._config.block_size * self._config.item_tokens
        needed += min(most, self._config.block_tokens or most)
        if needed > self._config.max_prompt_tokens:
            raise ConfigError(
                f"summaries.max_prompt_tokens {self._config.max_prompt_tokens}: a block of {self._config.block_size} "
                f"items may need {needed}; raise it or lower block_size, block_tokens or item_tokens"
            )

    def _find_fan_in(self) -> int:
        frame, each = self.frame_tokens("merge")
        return (self._config.max_prompt_tokens - frame) // (each + self.summary_tokens)
