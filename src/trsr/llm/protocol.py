"""What every LLM backend takes and returns.

A prompt is made of pieces, and each piece says whether a template wrote it or data did. Backends keep that
apart to the end: data text never becomes a control token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Piece:
    """A stretch of prompt text; `trusted` is true where a template wrote it, false for item or summary text."""

    text: str
    trusted: bool


@dataclass(frozen=True)
class Prompt:
    """A system and a user message, and the start of the answer that the model continues."""

    system: tuple[Piece, ...]
    user: tuple[Piece, ...]
    start: str = ""


@dataclass(frozen=True)
class Decoding:
    """How text is generated: `temperature` 0 is greedy, `seed` counts above that; limits against repetition.

    `grounded` lets content words come only from the data of the prompt and the template's words. `form` names the
    lines of a structured answer, each "NAME: VALUES", in their order; empty for free text.
    """

    max_new_tokens: int
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    temperature: float = 0.0
    seed: int = 0
    grounded: bool = False
    form: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """What a model wrote after the start of the answer, and how many tokens it read and wrote."""

    text: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Call:
    """One generation to be made; `key` names it between `submit` and `collect`."""

    key: str
    prompt: Prompt
    decoding: Decoding


class Generator(Protocol):
    """A backend that continues prompts.

    `fingerprint` names everything of the backend that changes its output (model id, weight hash, dtype). `slots` is
    how many calls it makes good use of at once: a full batch, or requests in flight.
    """

    fingerprint: str
    slots: int

    def submit(self, calls: Sequence[Call]) -> None:
        """Take up calls; no more than `slots` are to be under way. Does not wait for them."""
        ...

    def collect(self) -> list[tuple[str, Generation]]:
        """Wait until at least one call under way is done; gives the key and text of those that are, empty if none is.

        Raises `ModelError` where the backend cannot answer; what was done before that has been given.
        """
        ...

    def close(self) -> None:
        """Give up calls under way and let go of the backend."""
        ...
