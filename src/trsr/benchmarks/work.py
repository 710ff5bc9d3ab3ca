"""How much a method computes: tokens, pairs of attention, logits; and what that is in floating-point operations."""

from dataclasses import dataclass
from typing import Any

import torch

from trsr.benchmarks.cases import Case
from trsr.ranking.shared_prefix import decoder_of

# dense operations a second in bfloat16 and float16 without sparsity, by a part of the device's name
_PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True)
class Work:
    """Tokens read, pairs of a token and one that it may look at, and rows of logits over the whole vocabulary."""

    tokens: int
    pairs: int
    logits: int = 0


def rows_of(count: int, length: int, logits: int = 0) -> Work:
    """Work of plain causal rows, all of one length."""
    return Work(count * length, count * length * (length + 1) // 2, logits)


def in_batches(case: Case, size: int, logits: int = 0) -> Work:
    """Work of the full prompts of a case, so many at a time by length, each filled up to the longest of its batch."""
    lengths = [case.prefix + case.lengths[place] for place in case.order]
    filled = [lengths[place - place % size] for place in range(len(lengths))]
    return Work(sum(filled), sum(length * (length + 1) // 2 for length in filled), logits)


def behind_prefix(case: Case) -> Work:
    """Work of the candidates of a case where the prefix is known."""
    own = sum(length * (length + 1) // 2 for length in case.lengths)
    tokens = sum(case.lengths)
    return Work(tokens, tokens * case.prefix + own)


def shared(case: Case) -> Work:
    """Work of a case where the prefix is read once."""
    prefix, suffixes = rows_of(1, case.prefix), behind_prefix(case)
    return Work(prefix.tokens + suffixes.tokens, prefix.pairs + suffixes.pairs)


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one model: for a token, for a pair, for a row of logits.

    Training with LoRA takes the gradient by activations and not by the frozen weights: twice the products of the
    forward pass, three times its attention.
    """

    token: float
    pair: float
    logits: float

    @classmethod
    def of(cls, model: Any, training: bool) -> "Operations":
        """Count the weights of `model`, which has no adapter yet."""
        config = model.config.get_text_config()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        modules = (module for module in decoder_of(model).modules() if not isinstance(module, torch.nn.Embedding))
        own = (parameter for module in modules for parameter in module.parameters(recurse=False))
        weights = sum(parameter.numel() for parameter in own if parameter.ndim == 2)
        pair = 4.0 * config.num_hidden_layers * config.num_attention_heads * size
        logits = 2.0 * config.hidden_size * config.vocab_size
        return cls(2.0 * weights * (2 if training else 1), pair * (3 if training else 1), logits)

    def __call__(self, work: Work) -> float:
        """Operations of some work."""
        return self.token * work.tokens + self.pair * work.pairs + self.logits * work.logits


def peak_operations(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second that a device is built for, None where that is not known here."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)
