"""Full prompts as rows of a tensor: by length, so that a batch fills up as little as it can."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trsr.benchmarks.cases import Inputs
from trsr.benchmarks.subject import Subject


@dataclass(frozen=True)
class Rows:
    """Ids (count, longest) of full prompts, longest first, filled up behind their ends, where no token of theirs looks.

    `lengths` are their tokens and `order` their places among the candidates.
    """

    ids: Tensor
    lengths: list[int]
    order: Tensor

    @classmethod
    def of(cls, subject: Subject, inputs: Inputs) -> "Rows":
        """The prompts of a case."""
        case = inputs.case
        prompts = [inputs.prompts[place] for place in case.order]
        ids = subject.ids([[*prompt, *[0] * (case.prompt - len(prompt))] for prompt in prompts])
        return cls(ids, [len(prompt) for prompt in prompts], subject.ids(case.order))

    def __len__(self) -> int:
        return len(self.lengths)

    def middle(self, count: int) -> "Rows":
        """So many of middling length."""
        start = (len(self) - count) // 2
        part = slice(start, start + count)
        return Rows(self.ids[part], self.lengths[part], self.order[part])

    def batches(self, size: int) -> Iterator["Rows"]:
        """So many rows at a time, cut to the longest of them."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Rows(self.ids[part, : self.lengths[start]], self.lengths[part], self.order[part])

    def last(self, hidden: Tensor) -> Tensor:
        """Hidden states (count, size) at the ends of the rows, of those at all places."""
        if self.lengths[0] == self.lengths[-1]:
            return hidden[:, self.lengths[0] - 1]
        ends = torch.tensor(self.lengths, device=hidden.device) - 1
        return hidden[torch.arange(len(self), device=hidden.device), ends]
