"""The forward pass in which all candidates of a user share one prefix.

A ranking prompt is prefix + suffix: the prefix (instruction, summary, recent items) is the same for every
candidate of a user, the suffix (candidate, question) differs. A suffix token may look at the whole prefix and
at the earlier tokens of its own suffix, and its position continues from the prefix. Under that mask the hidden
state at the end of a suffix equals the one of the prompt run alone, so P + N*S tokens are computed instead of
N * (P + S), in one row (`trsr.ranking.packing`), with gradients through prefix and suffixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trsr.errors import ModelError
from trsr.ranking.attention import packed_attention
from trsr.ranking.packing import Part, Row, Tokens


@dataclass(frozen=True)
class AnswerHead:
    """The rows of the output head that belong to the two answers, in fp32: weight (2, hidden), bias (2,).

    `scale` multiplies the logits and `softcap` bounds them, where a family does that behind its output head.
    """

    weight: Tensor
    bias: Tensor
    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, model: Any, yes_id: int, no_id: int) -> "AnswerHead":
        """Take the answer rows out of a plain or PEFT model's output head; gradients flow into a tuned head."""
        model = _base_of(model)
        head = model.get_output_embeddings()
        config = model.config.get_text_config()
        rows = torch.tensor([yes_id, no_id], device=head.weight.device)
        weight = head.weight[rows].float()
        bias = getattr(head, "bias", None)
        return cls(
            weight,
            torch.zeros(2, device=weight.device) if bias is None else bias[rows].float(),
            getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0),
            getattr(config, "final_logit_softcapping", None),
        )

    def log_odds(self, hidden: Tensor) -> Tensor:
        """Log-odds of yes against no, (n,) in fp32, from last hidden states (n, hidden)."""
        logits = (hidden.float() @ self.weight.T + self.bias) * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits[:, 0] - logits[:, 1]


def last_hidden(model: nn.Module, row: Row) -> Tensor:
    """Last hidden states (n, hidden) at the answer position of every suffix of a row, in order."""
    decoder = decoder_of(model)
    with packed_attention(decoder.config):
        output = decoder(input_ids=row.ids, position_ids=row.positions, use_cache=False, layout=row.layout)
    hidden: Tensor = output.last_hidden_state[0, row.ends]
    return hidden


def packed_log_odds(
    model: nn.Module, head: AnswerHead, prefix: Tokens, suffixes: Sequence[Tokens], path: str = "blocks"
) -> Tensor:
    """Log-odds (n,) in fp32 of one user's candidates from one row, with gradients."""
    return head.log_odds(last_hidden(model, Row.of([Part(prefix, suffixes)], head.weight.device, path)))


def decoder_of(model: Any) -> Any:
    """The transformer below the output head, of a plain or a PEFT model; its output is normalised already."""
    return _base_of(model).get_decoder()


def _base_of(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def check_finite(log_odds: Tensor) -> Tensor:
    """The same log-odds. Raises `ModelError` when some are not finite."""
    if not torch.isfinite(log_odds).all():
        raise ModelError(
            f"the model gave {int((~torch.isfinite(log_odds)).sum())} scores that are not finite numbers; "
            "try dtype float32, and check that weights and adapter belong together"
        )
    return log_odds
