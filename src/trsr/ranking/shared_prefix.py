"""The forward pass in which all candidates of a user share one prefix.

A ranking prompt is prefix + suffix: the prefix (instruction, summary, recent items) is the same for every
candidate of a user, the suffix (candidate, question) differs. A suffix token may look at the whole prefix and
at the earlier tokens of its own suffix, and its position continues from the prefix. Under that mask the hidden
state at the end of a suffix equals the one of the prompt run alone, so P + N*S tokens are computed instead of
N * (P + S). Scoring reads the prefix into a key-value cache and runs the suffixes behind it in passes of bounded
size; training packs prefix and suffixes into one row, so that gradients flow through the prefix as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trsr.errors import ModelError
from trsr.ranking.attention import Blocks, block_attention, supports_blocks

Tokens = Sequence[int]
_INSTEAD = "take a Llama, Mistral, Qwen or GPT-NeoX model"


@dataclass(frozen=True)
class AnswerHead:
    """The rows of the output head that belong to the two answers, in fp32: weight (2, hidden), bias (2,)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, model: Any, yes_id: int, no_id: int) -> "AnswerHead":
        """Take the answer rows out of a causal language model's output head."""
        head = model.get_output_embeddings()
        rows = torch.tensor([yes_id, no_id], device=head.weight.device)
        weight = head.weight.detach()[rows].float()
        bias = getattr(head, "bias", None)
        return cls(weight, torch.zeros(2, device=weight.device) if bias is None else bias.detach()[rows].float())

    def log_odds(self, hidden: Tensor) -> Tensor:
        """Log-odds of yes against no, (n,) in fp32, from last hidden states (n, hidden)."""
        logits = hidden.float() @ self.weight.T + self.bias
        return logits[:, 0] - logits[:, 1]


@dataclass(frozen=True)
class Pack:
    """Several suffixes in one row, perhaps behind their prefix.

    `ids`, `positions` and `owner` are (1, length); `owner` is -1 for prefix tokens, else the index of the suffix.
    `ends` (n,) are the places of the last token of each suffix.
    """

    ids: Tensor
    positions: Tensor
    owner: Tensor
    ends: Tensor

    @classmethod
    def of(cls, prefix: Tokens, suffixes: Sequence[Tokens], offset: int, device: torch.device) -> "Pack":
        """Lay out `prefix` and `suffixes`; suffix positions start at `offset` + the length of `prefix`."""
        ids, positions, owner, ends = list(prefix), list(range(offset, offset + len(prefix))), [-1] * len(prefix), []
        for index, suffix in enumerate(suffixes):
            ids.extend(suffix)
            positions.extend(range(offset + len(prefix), offset + len(prefix) + len(suffix)))
            owner.extend([index] * len(suffix))
            ends.append(len(ids) - 1)
        rows = torch.tensor([ids, positions, owner], device=device)
        return cls(rows[0:1], rows[1:2], rows[2:3], torch.tensor(ends, device=device))

    def mask(self, cached: int) -> Tensor:
        """Boolean attention mask (1, 1, length, cached + length), true where a token may look."""
        owner = self.owner[0]
        same = (owner[:, None] == owner[None, :]) | (owner[None, :] == -1)
        own = same & torch.ones_like(same).tril()
        before = torch.ones(len(owner), cached, dtype=torch.bool, device=own.device)
        return torch.cat([before, own], dim=1)[None, None]

    def blocks(self) -> Blocks:
        """Where prefix and suffixes lie, for attention block by block."""
        start = int((self.owner == -1).sum())
        lengths = torch.diff(self.ends, prepend=torch.tensor([start - 1], device=self.ends.device))
        steps = torch.arange(int(lengths.max()), device=self.ends.device)[None]
        real = steps < lengths[:, None]
        first = (self.ends - lengths + 1)[:, None]
        return Blocks(start, torch.minimum(first + steps, self.ends[:, None]), real)


def passes(suffixes: Sequence[Tokens], pass_tokens: int) -> Iterator[list[Tokens]]:
    """Cut suffixes into consecutive groups of at most `pass_tokens` tokens (at least one suffix each)."""
    group: list[Tokens] = []
    size = 0
    for suffix in suffixes:
        if group and size + len(suffix) > pass_tokens:
            yield group
            group, size = [], 0
        group.append(suffix)
        size += len(suffix)
    if group:
        yield group


def score(
    model: nn.Module, head: AnswerHead, prefix: Tokens, suffixes: Sequence[Tokens], pass_tokens: int = 1024
) -> Tensor:
    """Log-odds (n,) fp32 of every suffix behind `prefix`: P tokens once, then N * S tokens behind the cache.

    Raises `ModelError` when the model gives values that are not finite.
    """
    from transformers import DynamicCache

    with torch.inference_mode():
        decoder = decoder_of(model)
        cache = DynamicCache(config=decoder.config)
        device = head.weight.device
        decoder(input_ids=torch.tensor([list(prefix)], device=device), past_key_values=cache, use_cache=True)
        parts = []
        for group in passes(suffixes, pass_tokens):
            pack = Pack.of((), group, len(prefix), device)
            parts.append(head.log_odds(_hidden(decoder, pack, cache)))
            cache.crop(-pack.ids.shape[1])
        return check_finite(torch.cat(parts))


def check_exact(model: Any, head: AnswerHead, answers: tuple[int, int]) -> None:
    """Score two short prompts both ways; raise `ModelError` by name where the shared prefix changes the result.

    Catches what a model family adds that this module does not know: scaled or capped logits, biases by place.
    """
    size = model.config.get_text_config().vocab_size
    tokens = [(7 * place + 3) % size for place in range(12)]
    prefix, suffixes = tokens[:6], [tokens[6:9], tokens[9:]]
    device = head.weight.device
    try:
        with torch.inference_mode():
            rows = [torch.tensor([prefix + suffix], device=device) for suffix in suffixes]
            logits = torch.stack([model(row).logits[0, -1].float() for row in rows])
        alone = logits[:, answers[0]] - logits[:, answers[1]]
        differences = [
            (score(model, head, prefix, suffixes) - alone).abs(),
            (packed_log_odds(model, head, prefix, suffixes).detach() - alone).abs(),
        ]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        kind = model.config.model_type
        raise ModelError(f"{kind} models cannot share a prefix here ({reason}); {_INSTEAD}") from None
    allowed = (1e-3 if model.dtype == torch.float32 else 0.1) * (1 + alone.abs())
    if any((difference > allowed).any() for difference in differences):
        raise ModelError(f"{model.config.model_type} models are not scored exactly behind a shared prefix; {_INSTEAD}")


def packed_log_odds(model: nn.Module, head: AnswerHead, prefix: Tokens, suffixes: Sequence[Tokens]) -> Tensor:
    """The same log-odds (n,) from one row without a cache, with gradients through prefix and suffixes."""
    return head.log_odds(packed_hidden(model, prefix, suffixes, head.weight.device))


def packed_hidden(model: nn.Module, prefix: Tokens, suffixes: Sequence[Tokens], device: torch.device) -> Tensor:
    """Last hidden states (n, hidden) at the answer position of every suffix."""
    return _hidden(decoder_of(model), Pack.of(prefix, suffixes, 0, device), None)


def decoder_of(model: Any) -> Any:
    """The transformer below the output head, of a plain or a PEFT model; its output is normalised already."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder()


def _hidden(decoder: Any, pack: Pack, cache: Any) -> Tensor:
    """Last hidden states at the ends of the suffixes; attention by blocks where the family allows it, else by mask."""
    inputs = {"input_ids": pack.ids, "position_ids": pack.positions, "past_key_values": cache}
    if supports_blocks(decoder.config):
        with block_attention(decoder.config):
            output = decoder(**inputs, use_cache=cache is not None, blocks=pack.blocks())
    else:
        mask = pack.mask(0 if cache is None else cache.get_seq_length())
        output = decoder(**inputs, use_cache=cache is not None, attention_mask=mask)
    hidden: Tensor = output.last_hidden_state[0, pack.ends]
    return hidden


def check_finite(log_odds: Tensor) -> Tensor:
    """The same log-odds. Raises `ModelError` when some are not finite."""
    if not torch.isfinite(log_odds).all():
        raise ModelError(
            f"the model gave {int((~torch.isfinite(log_odds)).sum())} scores that are not finite numbers; "
            "try dtype float32, and check that weights and adapter belong together"
        )
    return log_odds
