"""Losses over the candidates of each user in a packed row; all look at the answer positions only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trsr.llm.chat import Answers
from trsr.ranking.packing import Row
from trsr.ranking.shared_prefix import AnswerHead, last_hidden

Loss = Callable[[Tensor, Tensor], Tensor]


class PackedLoss(nn.Module):
    """The training loss of a packed row, as a module, so that the hooks of distributed training see its forward.

    `loss` is "answer" (the answer token over the whole vocabulary, as published: PAPER, Method 5), "binary" (yes
    against no), "listwise" or "pairwise". `positive_weight` multiplies the terms of positives in "answer" and
    "binary"; the other two have no terms of negatives to weigh against. With activation checkpointing, hold
    `packed_attention` open around forward and backward.
    """

    def __init__(self, model: Any, answers: Answers, loss: str, positive_weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.answers, self.loss, self.positive_weight = model, answers, loss, positive_weight
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # FSDP wraps layers by these class names

    def forward(self, row: Row, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss, a scalar: of each user times `weights` (users,), or the mean over users.

        `labels` (n,) are 0 and 1, one for each suffix of the row.
        """
        losses, _ = self._terms(row, labels)
        # no matrix product, which autocast would round
        return losses.mean() if weights is None else (losses * weights).sum()

    def by_user(self, row: Row, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each user (users,) and log-odds of each suffix (n,), both fp32 whatever the autocast."""
        return self._terms(row, labels)  # not `forward`, which FSDP puts hooks around; it may put them around this too

    def _terms(self, row: Row, labels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = last_hidden(self.model, row)
        counts = [len(group.part.suffixes) for group in row.layout.groups]
        with torch.autocast(hidden.device.type, enabled=False):
            head = AnswerHead.of(self.model, self.answers.yes_id, self.answers.no_id)
            log_odds = head.log_odds(hidden)
            if self.loss == "answer":
                logits = _whole_logits(self.model, head, hidden)
                targets = torch.where(labels.bool(), self.answers.yes_id, self.answers.no_id)
                terms = functional.cross_entropy(logits, targets, reduction="none")
            elif self.loss == "binary":
                terms = functional.binary_cross_entropy_with_logits(log_odds, labels.float(), reduction="none")
            else:
                of_list = {"listwise": listwise_loss, "pairwise": pairwise_loss}[self.loss]
                return _each(of_list, log_odds, labels, counts), log_odds
            terms = torch.where(labels.bool(), self.positive_weight * terms, terms)
            return torch.stack([part.mean() for part in torch.split(terms, counts)]), log_odds


def listwise_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of the positives among all candidates of a user, the mean over positives."""
    return -(torch.log_softmax(log_odds, dim=0) * labels).sum() / labels.sum()


def pairwise_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Minus log-sigmoid of a positive's log-odds minus a negative's, the mean over all such pairs of a user."""
    pairs = labels[:, None] * (1 - labels)[None]
    return -(functional.logsigmoid(log_odds[:, None] - log_odds[None]) * pairs).sum() / pairs.sum()


def _each(loss: Loss, log_odds: Tensor, labels: Tensor, counts: list[int]) -> Tensor:
    parts = zip(torch.split(log_odds, counts), torch.split(labels, counts), strict=True)
    return torch.stack([loss(odds, marks) for odds, marks in parts])


def _whole_logits(model: Any, head: AnswerHead, hidden: Tensor) -> Tensor:
    """Logits (n, vocabulary) in fp32, scaled and bounded as `head` does it for the two answers."""
    output = model.get_output_embeddings()
    logits: Tensor = output(hidden.to(output.weight.dtype)).float() * head.scale
    return logits if head.softcap is None else torch.tanh(logits / head.softcap) * head.softcap
