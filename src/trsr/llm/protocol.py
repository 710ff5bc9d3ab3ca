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
    """How text is generated: always greedy, with limits against repetition."""

    max_new_tokens: int
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0


@dataclass(frozen=True)
class Generation:
    """What a model wrote after the start of the answer, and how many tokens it read and wrote."""

    text: str
    tokens_in: int
    tokens_out: int


class Generator(Protocol):
    """A backend that continues prompts.

    `fingerprint` names everything of the backend that changes its output (model id, weight hash, dtype).
    """

    fingerprint: str
    batch_size: int

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """One generation per prompt, in order. Raises `ModelError` where the backend cannot answer."""
        ...
