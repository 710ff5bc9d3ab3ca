"""Ways to compute the gradient of one user's candidates, LoRA on attention; no step of an optimiser is in any.

| method | what it computes |
|---|---|
| separate | a row for each full prompt, in batches of the fastest of a few sizes, gradients added up |
| trsr | one packed row, as `trsr train` does |
| limit | one plain causal row of prefix and suffixes, which learns nothing right; no exact method reads fewer tokens |

The loss looks at the two answer rows at the answer places. LoRA dropout is off, so that gradients can be compared.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from trsr.benchmarks.agreement import compare
from trsr.benchmarks.batching import Batching
from trsr.benchmarks.cases import Case, Inputs
from trsr.benchmarks.rows import Rows
from trsr.benchmarks.scoring import plain_limit
from trsr.benchmarks.subject import Subject
from trsr.benchmarks.timing import Call, LeftOut, Method, Value
from trsr.benchmarks.work import Work, in_batches, rows_of, shared
from trsr.config import TrainingConfig
from trsr.errors import ConfigError
from trsr.ranking.adapters import add_lora
from trsr.ranking.attention import packed_attention
from trsr.ranking.losses import PackedLoss, listwise_loss, pairwise_loss
from trsr.ranking.packing import Part, Row

METHODS = ("separate", "trsr", "limit")
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "binary": binary_cross_entropy_with_logits,
    "listwise": listwise_loss,
    "pairwise": pairwise_loss,
}
_CHECKED = 4  # candidates whose gradients are compared


def check_loss(loss: str) -> None:
    """Raise `ConfigError` for a loss that looks at more than the two answer rows."""
    if loss not in LOSSES:
        raise ConfigError(f"--loss: no loss {loss!r} of the two answers; take {', '.join(LOSSES)}")


class TrainingMethods:
    """The methods on one model, which gets LoRA layers; `path` is how ours computes attention."""

    names: tuple[str, ...] = METHODS

    def __init__(self, subject: Subject, path: str, loss: str, lora_r: int) -> None:
        self.subject, self.path, self.loss = subject, path, loss
        add_lora(subject.model, TrainingConfig(lora_r=lora_r, lora_dropout=0))
        self._trained = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
        self._batching = Batching(subject.device)
        self._known_case: Case | None = None
        self._expected: Value = np.zeros(0, dtype=np.float32)
        self._agreed: set[str] = set()

    def work(self, name: str, case: Case) -> Work:
        """What a call of a method computes."""
        size = self._batching.taken("separate", case) if self.loss == "binary" else case.candidates
        return {
            "separate": in_batches(case, size),
            "trsr": shared(case),
            "limit": rows_of(1, case.least),
        }[name]

    def build(self, name: str, inputs: Inputs) -> Method | LeftOut:
        """A method on a case."""
        build: Callable[[Inputs], tuple[Callable[[], Call], str] | LeftOut] = {
            "separate": self._separate,
            "trsr": self._trsr,
            "limit": self._limit,
        }[name]
        built = build(inputs)
        return built if isinstance(built, LeftOut) else Method(name, self.work(name, inputs.case), *built)

    def checker(self, inputs: Inputs) -> Callable[[str, Value], None]:
        """Compares a method's gradients on the first candidates with those of separate rows, and its whole loss."""
        few = inputs.first(_CHECKED)
        losses: list[Value] = []

        def check(name: str, value: Value) -> None:
            if name == "limit":
                return
            if few.case != self._known_case:
                self._known_case, self._agreed = few.case, set()
                self._expected = self._gradients(lambda: self._rows_in(few, few.case.candidates))
            if name not in self._agreed:
                self._check_gradients(name, few)
            losses.append(value)
            compare(name, "loss", value, losses[0], self.subject.dtype, inputs.case)

        return check

    def _check_gradients(self, name: str, few: Inputs) -> None:
        """Once for all cases that begin with the same candidates."""
        step = self._packed if name == "trsr" else self._rows_one_by_one
        gradients = self._gradients(lambda: step(few))
        compare(name, "gradients", gradients, self._expected, self.subject.dtype, few.case)
        self._agreed.add(name)

    def _separate(self, inputs: Inputs) -> tuple[Callable[[], Call], str]:
        batch = inputs.case.candidates
        if self.loss == "binary":  # the others look at all candidates at once, so that there is nothing to add up
            batch = self._batching.fastest(
                "separate", inputs.case, lambda size: self._through(self._rows(inputs).middle(size), inputs, size)
            )
        return self._zeroed(lambda: self._rows_in(inputs, batch)), f"batches of {batch}"

    def _trsr(self, inputs: Inputs) -> tuple[Callable[[], Call], str]:
        return self._zeroed(lambda: self._packed(inputs)), self.path

    def _limit(self, inputs: Inputs) -> tuple[Callable[[], Call], str] | LeftOut:
        def run(row: Tensor, ends: Tensor) -> Value:
            return self._backward(self._loss_at(row, lambda hidden: hidden[0, ends], self._labels(inputs)))

        built = plain_limit(self.subject, inputs, run)
        return built if isinstance(built, LeftOut) else (self._zeroed(built[0]()), built[1])

    def _rows_one_by_one(self, inputs: Inputs) -> Value:
        return self._rows_in(inputs, 1 if self.loss == "binary" else inputs.case.candidates)

    def _rows_in(self, inputs: Inputs, batch: int) -> Value:
        """Forward and backward of full prompts, so many at a time."""
        return self._through(self._rows(inputs), inputs, batch)

    def _rows(self, inputs: Inputs) -> Rows:
        return Rows.of(self.subject, inputs)

    def _through(self, rows: Rows, inputs: Inputs, batch: int) -> Value:
        labels, total = self._labels(inputs), np.zeros(1, dtype=np.float32)
        for part in rows.batches(batch):
            loss = self._loss_at(part.ids, part.last, labels[part.order])
            total += self._backward(loss * (len(part) / len(rows)))
        return total

    def _packed(self, inputs: Inputs) -> Value:
        """Forward and backward of the packed row."""
        module = PackedLoss(self.subject.model, self.subject.answers, self.loss)
        with packed_attention(self.subject.decoder.config):
            row = Row.of([Part(inputs.prefix, inputs.suffixes())], self.subject.device, self.path)
            return self._backward(module(row, self._labels(inputs)))

    def _loss_at(self, rows: Tensor, pick: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
        hidden = pick(self.subject.decoder(input_ids=rows, use_cache=False).last_hidden_state)
        return LOSSES[self.loss](self.subject.head.log_odds(hidden), labels)

    def _labels(self, inputs: Inputs) -> Tensor:
        """One candidate is the positive, the first."""
        labels = torch.zeros(inputs.case.candidates, device=self.subject.device)
        labels[0] = 1
        return labels

    def _zeroed(self, call: Call) -> Callable[[], Call]:
        def ready() -> Call:
            self.subject.model.zero_grad(set_to_none=True)
            return call

        return ready

    def _gradients(self, step: Call) -> Value:
        """All gradients of a step, one behind another."""
        self._zeroed(step)()()
        grads = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        flat: Value = torch.cat([grad.flatten() for grad in grads]).float().cpu().numpy()
        return flat

    @staticmethod
    def _backward(loss: Tensor) -> Value:
        loss.backward()  # type: ignore[no-untyped-call]
        return np.array([loss.item()], dtype=np.float32)
