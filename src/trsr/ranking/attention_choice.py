"""Which way of computing attention a model takes: told, or measured on this machine."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from trsr.config import AttentionPath
from trsr.progress import say
from trsr.ranking.families import prompt_limit
from trsr.ranking.packing import Part, Row
from trsr.ranking.shared_prefix import last_hidden

_PREFIX, _SUFFIX, _CANDIDATES, _REPEATS = 768, 64, 16, 3


@dataclass(frozen=True)
class AttentionChoice:
    """The way taken, and the median seconds of a pass by every way that was measured."""

    path: str
    seconds: dict[str, float] = field(default_factory=dict)


def choose_attention(model: Any, asked: AttentionPath, pass_tokens: int) -> AttentionChoice:
    """The way `asked` for; "measure" takes the fastest on a pass of about `pass_tokens` random tokens.

    "auto" measures on a GPU. On a CPU it is "blocks", or "mask" for models with capped attention scores
    (docs/performance.md). A way that cannot be computed on this machine is left out.
    """
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    if asked in ("mask", "flex"):
        return AttentionChoice(asked)
    exact = "mask" if capped else "blocks"
    if asked == "blocks" or (asked == "auto" and model.device.type != "cuda"):
        return AttentionChoice(exact)
    seconds = {exact: _median_seconds(model, exact, pass_tokens)}
    others = ("mask", "flex") if model.device.type == "cuda" else ("mask",)
    for path in (path for path in others if path != exact):
        try:
            seconds[path] = _median_seconds(model, path, pass_tokens)
        except Exception as error:  # noqa: BLE001 - a compiler that is missing, or memory: the exact way is there
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"attention {path} cannot be computed here and is left out: {reason}")
    return AttentionChoice(min(seconds, key=lambda path: seconds[path]), seconds)


@torch.inference_mode()
def _median_seconds(model: Any, path: str, pass_tokens: int) -> float:
    limit = prompt_limit(model.config)
    longest = _PREFIX + _SUFFIX if limit is None else min(_PREFIX + _SUFFIX, limit.tokens)
    prefix = longest - min(_SUFFIX, longest // 2)
    tokens = [place % 100 for place in range(longest)]
    user = Part(tokens[:prefix], [tokens[prefix:]] * _CANDIDATES)
    row = Row.of([user] * max(pass_tokens // user.tokens, 1), model.device, path)
    last_hidden(model, row)
    return statistics.median(_seconds(model, row) for _ in range(_REPEATS))


def _seconds(model: Any, row: Row) -> float:
    started = time.perf_counter()
    last_hidden(model, row).cpu()
    return time.perf_counter() - started
