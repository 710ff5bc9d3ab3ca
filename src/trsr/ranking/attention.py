"""Attention of packed rows, in which a user's prefix stands once and each suffix sees the prefix and itself.

One attention function is put into the model while a packed row runs. It computes one of three equal things:
"blocks", the parts of the mask that are not empty, as plain matrix products; "mask", the whole row under a boolean
mask; "flex", FlexAttention with that mask as a rule. Blocks take P^2 / 2 + N * S * (P + S) products of queries and
keys where a mask takes (P + N * S)^2, and keep nothing for the backward pass but queries, keys and values.
Sliding windows count places in the prompt, not in the row; capped attention scores take the mask or flex.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from trsr.errors import ModelError
from trsr.ranking.packing import Layout, Suffixes

INSTEAD = "take a Llama, Mistral, Qwen, Gemma, Phi-3, SmolLM, GPT-NeoX, OPT or GPT-2 model"
_NAME = "trsr_shared_prefix"
_ONE_AT_A_TIME = RLock()


@contextmanager
def packed_attention(config: Any) -> Iterator[None]:
    """Let the model of `config` compute attention by layout while the block runs (the backward pass included).

    One thread at a time: the switch is the model's, so another thread's row would lose its layout half way.
    """
    from transformers import AttentionInterface

    with _ONE_AT_A_TIME:
        AttentionInterface.register(_NAME, _attend)
        before = config._attn_implementation
        config._attn_implementation = _NAME
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
    sliding_window: int | None = None,
    softcap: float | None = None,
    layout: Layout | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention output (1, length, heads, size) for `query` (1, heads, length, size) of a row laid out by `layout`."""
    if layout is None:
        raise ModelError(f"{module.config.model_type} models compute attention in a way of their own; {INSTEAD}")
    if s_aux is not None:
        raise ModelError(f"{module.config.model_type} models have attention sinks, which are not supported; {INSTEAD}")
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = module.layer_idx
    for group in layout.groups:
        group.keep(layer, key[0], value[0])
    if layout.path == "blocks" and softcap is None:
        return _by_blocks(query, key, value, layout, layer, scale, sliding_window), None
    key, value = layout.with_known(layer, key, value)
    trained_on_cpu = query.requires_grad and query.device.type == "cpu"  # where FlexAttention has no backward pass
    attend = _by_rule if layout.path == "flex" and not trained_on_cpu else _by_mask
    return attend(query, key, value, layout, scale, sliding_window, softcap).transpose(1, 2), None


def _by_mask(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    mask = layout.mask(window)
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=True)
    groups = query.shape[1] // key.shape[1]
    scores = torch.matmul(query, key.repeat_interleave(groups, 1).transpose(2, 3)).float() * scale
    scores = (torch.tanh(scores / softcap) * softcap).masked_fill(~mask, -torch.inf)
    return torch.matmul(torch.softmax(scores, -1).to(value.dtype), value.repeat_interleave(groups, 1))


def _by_rule(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    def cap(score: Tensor, *_: Tensor) -> Tensor:
        assert softcap is not None
        return torch.tanh(score / softcap) * softcap

    attended: Tensor = _flex(query.device.type)(
        query, key, value, cap if softcap else None, layout.block_mask(window), scale, enable_gqa=True
    )
    return attended


@lru_cache
def _flex(device: str) -> Any:
    """FlexAttention, compiled once for all lengths on a GPU; elsewhere uncompiled, for tests."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


def _by_blocks(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, layer: int, scale: float, window: int | None
) -> Tensor:
    heads = key.shape[1]
    parts = []
    for group in layout.groups:
        start, middle, end = group.start, group.start + group.prefix, group.end
        before_key, before_value = group.known(layer) or (key[0, :, start:middle], value[0, :, start:middle])
        if group.prefix:
            parts.append(_causal(query[:, :, start:middle], before_key, before_value, scale, window))
        if group.suffixes is not None:
            own = query[0, :, middle:end].reshape(heads, -1, end - middle, query.shape[-1])
            rows = (before_key, before_value, key[0, :, middle:end], value[0, :, middle:end])
            hidden = None if window is None else group.outside(window, query.device)
            attended = _SuffixAttention.apply(own, *rows, group.suffixes, hidden, scale)  # type: ignore[no-untyped-call]
            parts.append(attended.flatten(0, 1))
    return torch.cat(parts, dim=1).transpose(0, 1).contiguous()[None]


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
        mask = ones.tril().triu(1 - window)
    return scaled_dot_product_attention(
        query, key[None], value[None], attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )[0]


class _SuffixAttention(torch.autograd.Function):
    """Suffix tokens behind their prefix; the weights are computed again in the backward pass, not kept.

    `query` (kv heads, queries a head, tokens, size); keys and values (kv heads, prefix or tokens, size). On a CPU one
    kv head goes after another, so that the weights stay in its cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        before_key: Tensor,
        before_value: Tensor,
        key: Tensor,
        value: Tensor,
        suffixes: Suffixes,
        hidden: tuple[Tensor, Tensor] | None,
        scale: float,
    ) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        prefix = before_key.shape[1]
        for heads in _head_slices(query):
            weights = _weights(query[heads] * scale, before_key[heads], key[heads], suffixes, hidden)
            part = torch.matmul(weights[..., :prefix], before_value[heads, None])
            own = torch.matmul(suffixes.spread(weights[..., prefix:]), suffixes.spread(value[heads, None]))
            output[heads] = part.add_(suffixes.gather(own))
        ctx.save_for_backward(query, before_key, before_value, key, value, output)
        ctx.suffixes, ctx.hidden, ctx.scale = suffixes, hidden, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        query, before_key, before_value, key, value, output = ctx.saved_tensors
        suffixes: Suffixes = ctx.suffixes
        prefix = before_key.shape[1]
        grads = [torch.empty_like(tensor) for tensor in (query, before_key, before_value, key, value)]
        for heads in _head_slices(query):
            scaled, onto = query[heads] * ctx.scale, gradient[heads]
            weights = _weights(scaled, before_key[heads], key[heads], suffixes, ctx.hidden)
            mean = (onto.float() * output[heads].float()).sum(-1, keepdim=True).to(onto.dtype)
            seen, own = weights[..., :prefix], suffixes.spread(weights[..., prefix:])
            onto_own, scaled_own = suffixes.spread(onto, fill=False), suffixes.spread(scaled)
            slope = torch.matmul(onto, before_value[heads, None].mT).sub_(mean).mul_(seen)
            slope_own = torch.matmul(onto_own, suffixes.spread(value[heads, None]).mT)
            slope_own = slope_own.sub_(suffixes.spread(mean, fill=False)).mul_(own)
            grad = torch.matmul(slope, before_key[heads, None])
            grad += suffixes.gather(torch.matmul(slope_own, suffixes.spread(key[heads, None])))
            grads[0][heads] = grad.mul_(ctx.scale)
            grads[1][heads] = torch.matmul(slope.flatten(1, 2).mT, scaled.flatten(1, 2))
            grads[2][heads] = torch.matmul(seen.flatten(1, 2).mT, onto.flatten(1, 2))
            grads[3][heads] = suffixes.gather(torch.matmul(slope_own.mT, scaled_own)).sum(1)
            grads[4][heads] = suffixes.gather(torch.matmul(own.mT, onto_own)).sum(1)
        return *grads, None, None, None


def _head_slices(query: Tensor) -> list[slice]:
    heads = query.shape[0]
    return [slice(head, head + 1) for head in range(heads)] if query.device.type == "cpu" else [slice(0, heads)]


def _weights(
    scaled: Tensor, before_key: Tensor, key: Tensor, suffixes: Suffixes, hidden: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Attention weights (kv heads, queries a head, tokens, prefix + longest suffix) of suffix tokens."""
    before = torch.matmul(scaled, before_key[:, None].mT)
    own = torch.matmul(suffixes.spread(scaled), suffixes.spread(key[:, None]).mT)
    own = suffixes.gather(own.masked_fill_(suffixes.later, -torch.inf))
    if hidden is not None:
        before.masked_fill_(hidden[0], -torch.inf)
        own.masked_fill_(hidden[1], -torch.inf)
    return torch.softmax(torch.cat([before, own], dim=-1), dim=-1)
