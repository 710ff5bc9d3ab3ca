"""What a way of summarising is: a plan of LLM calls, and the prompts that it is written in."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from trsr.llm.protocol import Prompt


@dataclass(frozen=True)
class Request:
    """A text that a plan asks for.

    `items` are all items that it will sum up and `previous` the summary that it renews, "" for none: what is to be
    had in its place where the model writes nothing of use.
    """

    prompt: Prompt
    items: tuple[str, ...]
    previous: str = ""


@dataclass(frozen=True)
class Wave:
    """Requests that are ready now, and how many waves come after this one."""

    requests: tuple[Request, ...]
    left: int


# A user's summary in the making: yields the requests that are ready now, is sent their finished texts in the
# same order, and returns the summary. It knows nothing of other users, of batches or of the store.
Plan: TypeAlias = Generator[Wave, list[str], str]


class SummaryPrompts(Protocol):
    """The three prompts that summaries are made with."""

    @property
    def fan_in(self) -> int:
        """How many summaries fit into one merge prompt, at least 2."""
        ...

    def block(self, items: Sequence[str]) -> Prompt:
        """Summarise one block of item ids, oldest first."""
        ...

    def update(self, summary: str, items: Sequence[str]) -> Prompt:
        """Bring a summary up to date with the next block of item ids."""
        ...

    def merge(self, summaries: Sequence[str]) -> Prompt:
        """Make one summary of up to `fan_in` summaries, oldest first."""
        ...
