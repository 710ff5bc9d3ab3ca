"""Attention of a packed row, block by block: prefix tokens among themselves, each suffix behind the prefix.

The mask of a packed row is mostly empty: a suffix looks at the prefix and itself, never at the other N - 1
suffixes. Computing these blocks alone takes P^2 / 2 + N * S * (P + S) products of queries and keys in place of
(P + N * S)^2, forward and backward, for a copy of the prefix's keys and values per suffix and layer. Everything
that works token by token (projections, MLP) keeps the packed row without padding. Models of other families take
the same row with a mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "trsr_shared_prefix"
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gpt_neox"})


@dataclass(frozen=True)
class Blocks:
    """Where prefix and suffixes lie in a packed row.

    `prefix` is the number of prefix tokens at the start of the row. `slots` (n, longest) holds the row index of each
    suffix token, shorter suffixes filled up with their last one; `real` (n, longest) is false at the filling.
    """

    prefix: int
    slots: Tensor
    real: Tensor


def supports_blocks(config: Any) -> bool:
    """Whether a model's attention may be computed by blocks: a known family without a sliding window."""
    return config.model_type in FAMILIES and not getattr(config, "sliding_window", None)


@contextmanager
def block_attention(config: Any) -> Iterator[None]:
    """Let the model of `config` call `_attend` for attention while the block runs."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    blocks: Blocks | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention output (1, length, heads, size) of a row.

    `query` is (1, heads, length, size); `key` and `value` may hold a cached prefix before the row.
    """
    assert blocks is not None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    length, cached = query.shape[2], key.shape[2] - query.shape[2]
    shared = cached + blocks.prefix
    count, longest = blocks.slots.shape
    behind, own = key[:, :, :shared], key[0][:, cached + blocks.slots].transpose(0, 1)
    behind_value, own_value = value[:, :, :shared], value[0][:, cached + blocks.slots].transpose(0, 1)
    ones = torch.ones(longest, shared + longest, dtype=torch.bool, device=query.device)
    suffix = scaled_dot_product_attention(
        query[0][:, blocks.slots].transpose(0, 1),
        torch.cat([behind.expand(count, -1, -1, -1), own], dim=2),
        torch.cat([behind_value.expand(count, -1, -1, -1), own_value], dim=2),
        attn_mask=ones.tril(shared),
        scale=scaling,
    )
    parts = [suffix.permute(0, 2, 1, 3)[blocks.real]]
    if blocks.prefix:
        parts.insert(0, _prefix_part(query, behind, behind_value, blocks.prefix, cached, scaling))
    output = torch.cat(parts)[None]
    assert output.shape[1] == length
    return output, None


def _prefix_part(query: Tensor, key: Tensor, value: Tensor, prefix: int, cached: int, scaling: float | None) -> Tensor:
    assert cached == 0, "a row with a prefix of its own has no cache before it"
    attended = scaled_dot_product_attention(query[:, :, :prefix], key, value, is_causal=True, scale=scaling)
    return attended[0].transpose(0, 1)
