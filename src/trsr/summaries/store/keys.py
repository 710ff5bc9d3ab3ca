"""The key of a call: what its text is stored under."""

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from trsr.llm.protocol import Decoding, Piece, Prompt

# Stores hold keys made when `Decoding` had these fields only, so they stand in every key. A field that came later
# stands there where it differs from its default: what is at its default writes what was written before.
_FIRST_FIELDS: Final = ("max_new_tokens", "repetition_penalty", "no_repeat_ngram")


def call_key(fingerprint: str, prompt: Prompt, decoding: Decoding) -> str:
    """SHA-256 over everything that changes what a call writes, and nothing else (no batch size, no path).

    A greedy call has no `seed` in its key, for it draws no random number.
    """
    parts = {"system": _plain(prompt.system), "user": _plain(prompt.user), "start": prompt.start}
    content = {"model": fingerprint, "prompt": parts, "decoding": _that_count(decoding)}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    return [{"text": piece.text, "trusted": piece.trusted} for piece in pieces]


@lru_cache(maxsize=64)
def _that_count(decoding: Decoding) -> dict[str, Any]:
    counting: dict[str, Any] = {}
    for field in fields(decoding):
        value = getattr(decoding, field.name)
        idle = field.name == "seed" and decoding.temperature == 0
        if field.name in _FIRST_FIELDS or (value != field.default and not idle):
            counting[field.name] = value
    return counting
