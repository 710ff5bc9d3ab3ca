"""Losses over the candidates of one packed example; all look at the answer position only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trsr.llm.chat import Answers
from trsr.ranking.shared_prefix import AnswerHead

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(name: str, model: Any, head: AnswerHead, answers: Answers) -> Loss:
    """The loss `name` as a function of hidden states (n, hidden) and labels (n,) of 0 and 1, giving a scalar."""
    if name == "answer":
        return _answer_loss(model, answers)
    from_log_odds = {"binary": binary_loss, "listwise": listwise_loss}[name]
    return lambda hidden, labels: from_log_odds(head.log_odds(hidden), labels)


def binary_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy between yes and no, the mean over candidates."""
    return functional.binary_cross_entropy_with_logits(log_odds, labels.float())


def listwise_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of the positives among all candidates of the example."""
    return -torch.log_softmax(log_odds, dim=0)[labels.bool()].mean()


def _answer_loss(model: Any, answers: Answers) -> Loss:
    """Cross-entropy of the answer token over the whole vocabulary, as published (PAPER: Method, 5)."""
    output = (model.get_base_model() if hasattr(model, "get_base_model") else model).get_output_embeddings()

    def loss(hidden: Tensor, labels: Tensor) -> Tensor:
        targets = torch.where(labels.bool(), answers.yes_id, answers.no_id)
        return functional.cross_entropy(output(hidden).float(), targets)

    return loss
