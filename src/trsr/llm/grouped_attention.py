"""Attention as plain matrix products, one for all heads that share their keys.

On a CPU that is faster than PyTorch's flash kernel for the short prompts and single tokens of summarising: two times
with one new token for each of 32 rows, and as much in reading prompts of 200 tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch import Tensor

_NAME = "trsr_grouped"
_MOST_SCORES = 1 << 19  # of one head, beyond which the flash kernel wins and the scores would fill the memory
_ONE_AT_A_TIME = RLock()


@contextmanager
def grouped_attention(model: Any) -> Iterator[None]:
    """Let `model` compute attention in groups while the block runs, if it is on a CPU and has no way of its own."""
    config = model.config
    if config._attn_implementation != "sdpa" or model.device.type != "cpu":
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    with _ONE_AT_A_TIME:  # the switch is the model's, not the thread's
        AttentionInterface.register(_NAME, _attend)
        AttentionMaskInterface.register(_NAME, eager_mask)
        config._attn_implementation = _NAME
        try:
            yield
        finally:
            config._attn_implementation = "sdpa"


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None = None, **more: Any
) -> tuple[Tensor, None]:
    """Attention output (rows, tokens, heads, size) for `query` (rows, heads, tokens, size) under an additive mask."""
    rows, heads, tokens, size = query.shape
    groups, columns = key.shape[1:3]
    if tokens * columns > _MOST_SCORES:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **more)
        return attended, None
    scaled = query * (size**-0.5 if scaling is None else scaling)
    # contiguous: a product with keys that are transposed and spread out takes twice the time
    scores = torch.matmul(scaled.reshape(rows, groups, -1, size), key.contiguous().mT)
    weights = torch.softmax(scores.view(rows, heads, tokens, columns).add_(mask), -1)
    attended = torch.matmul(weights.view(rows, groups, -1, columns), value).view(rows, heads, tokens, -1)
    return attended.transpose(1, 2).contiguous(), None
