"""Which way of computing attention a model takes: told, or measured on this machine."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from trsr.config import AttentionPath
from trsr.ranking.families import prompt_limit
from trsr.ranking.packing import Part, Row
from trsr.ranking.shared_prefix import last_hidden

_PREFIX, _SUFFIX, _CANDIDATES, _REPEATS = 768, 64, 16, 3


@dataclass(frozen=True)
class AttentionChoice:
    """The way taken, and the median seconds of a pass by every way that was measured."""

    path: str
    seconds: dict[str, float] = field(default_factory=dict)


def choose_attention(model: Any, asked: AttentionPath) -> AttentionChoice:
    """The way `asked` for; "measure" takes the fastest on a pass of random tokens.

    "auto" measures on a GPU. On a CPU it is "blocks", the fastest there for every family measured
    (docs/performance.md), or "mask" for models with capped attention scores.
    """
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    if asked in ("mask", "flex"):
        return AttentionChoice(asked)
    exact = "mask" if capped else "blocks"
    if asked == "blocks" or (asked == "auto" and model.device.type != "cuda"):
        return AttentionChoice(exact)
    paths = [exact, "mask", "flex"] if model.device.type == "cuda" else [exact, "mask"]
    seconds = {path: _median_seconds(model, path) for path in paths}
    return AttentionChoice(min(seconds, key=lambda path: seconds[path]), seconds)


@torch.inference_mode()
def _median_seconds(model: Any, path: str) -> float:
    limit = prompt_limit(model.config)
    longest = _PREFIX + _SUFFIX if limit is None else min(_PREFIX + _SUFFIX, limit.tokens)
    prefix = longest - min(_SUFFIX, longest // 2)
    tokens = [place % 100 for place in range(longest)]
    row = Row.of([Part(tokens[:prefix], [tokens[prefix:]] * _CANDIDATES)], model.device, path)
    last_hidden(model, row)
    return statistics.median(_seconds(model, row) for _ in range(_REPEATS))


def _seconds(model: Any, row: Row) -> float:
    started = time.perf_counter()
    last_hidden(model, row).cpu()
    return time.perf_counter() - started
