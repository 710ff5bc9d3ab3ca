"""Fine-tuning on packed rows: the loss on the answers only, the best step on validation.

The loss of a step is the mean over its examples, however they are spread over rows and processes. On a CPU the whole
loop is deterministic given examples and settings, and continues exactly where a kill left it.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from trsr.config import TrainingConfig
from trsr.errors import ModelError
from trsr.evaluation.metrics import ranking_metrics
from trsr.llm.memory import ran_out, release
from trsr.ranking.adapters import finish, is_4bit, prepare
from trsr.ranking.attention import packed_attention
from trsr.ranking.batches import (
    LabelledPrompt,
    Turn,
    affordable_row,
    check_labels,
    learning_rate,
    pack,
    packed,
    plan_steps,
    row_seed,
    turns,
)
from trsr.ranking.checkpoint import TRAINING_PATH, TrainingLog, TrainingState, load_checkpoint, save_checkpoint
from trsr.ranking.losses import PackedLoss
from trsr.ranking.processes import Processes, put_back
from trsr.ranking.ranker import Ranker
from trsr.ranking.shared_prefix import check_finite, decoder_of

__all__ = ["LabelledPrompt", "Progress", "train", "trained_state"]

_CHECKPOINT_SECONDS = 20.0
_CHECKPOINT_SHARE = 20  # so many times longer is trained than the last checkpoint took to write
_RECALL_KS = (3, 5, 10)

Progress = Callable[[int, int, float], None]
T = TypeVar("T")


def train(
    ranker: Ranker,
    examples: Sequence[LabelledPrompt],
    validation: Sequence[LabelledPrompt],
    config: TrainingConfig,
    folder: Path,
    on_step: Progress | None = None,
) -> tuple[Ranker, TrainingLog]:
    """Tune `ranker` on `examples`; gives the ranker with the best weights and the log. The base model is changed.

    `folder` holds the checkpoints: call again with the same arguments after a kill and the run continues.
    `on_step` is told steps done, steps in all and the loss. In processes that `accelerate launch` started, all of
    them call this, and only the main one gets the best weights; with FSDP what it gets can be saved, but is no whole
    model to score with. Raises `ConfigError` for examples that nothing can be learnt from.
    """
    check_labels(examples, validation, config.loss)
    dtype = ranker.dtype
    tuned = replace(ranker, model=prepare(ranker.model, config), whole=config.tune == "full")
    loop = _Loop(tuned, dtype, examples, validation, config, folder)
    loop.run(on_step)
    if loop.processes.index == 0:
        put_back(loop.bare_module, loop.parameters, loop.best)
        finish(loop.ranker.model, dtype)
    return loop.ranker, loop.log


class _Loop:
    def __init__(
        self,
        ranker: Ranker,
        dtype: str,
        examples: Sequence[LabelledPrompt],
        validation: Sequence[LabelledPrompt],
        config: TrainingConfig,
        folder: Path,
    ) -> None:
        self.ranker, self.examples, self.validation, self.config = ranker, examples, validation, config
        self.folder, self.device = folder, ranker.model.device
        self.half = config.tune == "full" and dtype == "bfloat16"
        module = PackedLoss(ranker.model, ranker.answers, config.loss, config.positive_weight)
        trained = [parameter for parameter in ranker.model.parameters() if parameter.requires_grad]
        self.plain_optimizer = torch.optim.AdamW(
            trained, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.processes = Processes(self.device, config.clip)
        self.module, self.optimizer = self.processes.prepare(module, self.plain_optimizer)
        # behind `prepare`, which may have put shards in the place of whole parameters
        self.parameters: dict[str, nn.Parameter] = {
            name: parameter for name, parameter in ranker.model.named_parameters() if parameter.requires_grad
        }
        self.sizes = [example.tokens for example in examples]
        self.steps = plan_steps(self.sizes, config)
        self.total = len(self.steps)
        self.log = TrainingLog(self._fingerprint(dtype))
        self.best = self.processes.gather(self.parameters)

    @property
    def row_tokens(self) -> int:
        """Most tokens of a row, for now."""
        return self.log.row_tokens[-1]["row_tokens"]

    @property
    def bare_module(self) -> Any:
        """The module without what spreads it over processes by wrapping."""
        return self.processes.accelerator.unwrap_model(self.module)

    def run(self, on_step: Progress | None) -> None:
        """Train to the end, from the latest checkpoint if there is one."""
        restored = load_checkpoint(self.folder, self.log.fingerprint, self.parameters, self.plain_optimizer)
        start = 0
        if restored is not None:
            start, self.log, best = restored
            self.best = best if self.processes.index == 0 else {}
        else:
            self.log.row_tokens.append({"step": 1, "row_tokens": self.config.row_tokens or self._chosen_row_tokens()})
            self._evaluate(0)
        clock = saved = time.monotonic()
        pause = _CHECKPOINT_SECONDS
        for step in range(start + 1, self.total + 1):
            loss = self._step(step)
            evaluated = step in self._evaluation_steps()
            if evaluated:
                self._evaluate(step)
            now = time.monotonic()
            self.log.seconds, clock = self.log.seconds + now - clock, now
            if evaluated or self.processes.agree(now - saved > pause):
                self._save(step)
                saved = time.monotonic()
                pause = max(_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * (saved - now))
            if on_step is not None:
                on_step(step, self.total, loss)

    def _step(self, step: int) -> float:
        """One optimiser step; gives the mean loss of its examples."""
        for group in self.plain_optimizer.param_groups:
            group["lr"] = learning_rate(step, self.total, self.config)
        chosen = [self.examples[index] for index in self.steps[step - 1]]
        loss = self._with_room(step, chosen, lambda: self._gradients(step, chosen))
        if not math.isfinite(loss):
            raise ModelError(f"training step {step}: the loss is {loss}; lower training.learning_rate or use float32")
        self.processes.accelerator.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.log.tokens += sum(example.tokens for example in chosen)
        self.log.steps.append({"step": step, "loss": loss})
        return loss

    def _gradients(self, step: int, chosen: Sequence[LabelledPrompt]) -> float:
        """Add up the gradients of a step over its rows, this process's ones, and give the loss of all processes."""
        accelerator, count = self.processes.accelerator, self.processes.count
        self.module.train()
        losses = []
        for turn in self._turns(chosen):
            examples = [chosen[index] for index in turn.members]
            # Accelerate averages gradients over processes, and the loss is a mean over all examples of the step
            share = count / len(chosen) if turn.real else 0.0
            torch.manual_seed(row_seed(self.config.seed, step, turn.place))
            accelerator.sync_gradients = turn.last
            # activations are computed again in the backward pass, so attention must still be the packed one there
            with (
                packed_attention(decoder_of(self.ranker.model).config),
                nullcontext() if turn.last else accelerator.no_sync(self.module),
            ):
                row, labels = packed(examples, self.device, self.log.attention)
                with self._autocast():
                    loss = self.module(row, labels, torch.full((len(examples),), share, device=self.device))
                accelerator.backward(loss)
            losses.append(loss.detach())
        return self.processes.sum(torch.stack(losses).cpu().double().sum()).item() / count

    def _evaluate(self, step: int) -> None:
        """Loss (the trained one) and recall on validation; keep the weights if they are the best so far."""
        losses, scores = self._with_room(step, self.validation, self._validate)
        check_finite(scores)
        labels = [label for example in self.validation for label in example.labels]
        owners = [index for index, example in enumerate(self.validation) for _ in example.labels]
        metrics = ranking_metrics(scores.tolist(), labels, owners, _RECALL_KS)
        recall = float(np.mean([metrics[f"recall@{k}"].mean() for k in _RECALL_KS]))
        entry = {"step": step, "valid_loss": losses.double().mean().item(), "valid_recall": recall}
        best = max(self.log.evaluations, key=self._worth, default=None)
        self.log.evaluations.append(entry)
        if best is None or self._worth(entry) > self._worth(best):
            self.log.best_step = step
            self.best = self.processes.gather(self.parameters)

    def _worth(self, evaluation: Mapping[str, float]) -> tuple[float, float]:
        """Higher is better: what `best_by` names, and the other where that is equal."""
        recall, loss = evaluation["valid_recall"], evaluation["valid_loss"]
        return (recall, -loss) if self.config.best_by == "recall" else (-loss, recall)

    def _validate(self) -> tuple[Tensor, Tensor]:
        """Losses (users,) and log-odds (all candidates,) of validation, from all processes."""
        module = self.bare_module.eval()
        ends = np.cumsum([len(example.labels) for example in self.validation])
        losses, scores = torch.zeros(len(ends)), torch.zeros(int(ends[-1]))
        for turn in self._turns(self.validation):
            row, labels = packed([self.validation[index] for index in turn.members], self.device, self.log.attention)
            with torch.no_grad(), self._autocast():
                row_losses, log_odds = module.by_user(row, labels)
            if turn.real:
                first, last = turn.members[0], turn.members[-1]
                losses[first : last + 1] = row_losses.cpu()
                scores[ends[last] - len(labels) : ends[last]] = log_odds.cpu()
        return self.processes.sum(losses), self.processes.sum(scores)

    def _turns(self, examples: Sequence[LabelledPrompt]) -> Iterator[Turn]:
        rows = pack([example.tokens for example in examples], self.row_tokens)
        return turns(rows, self.processes.index, self.processes.count)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _with_room(self, step: int, examples: Sequence[LabelledPrompt], work: Callable[[], T]) -> T:
        """Do `work` on rows of `examples`; where memory runs out, do it anew on smaller ones."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
            self._shrink(step, examples)  # here the tensors that the error held on to are gone

    def _shrink(self, step: int, examples: Sequence[LabelledPrompt]) -> None:
        """Halve rows until those of `examples` are others; `ModelError` where each example stands alone already."""
        # Accelerate's optimiser keeps gradients until a step's last row, and those of the rows before would count twice
        self.plain_optimizer.zero_grad(set_to_none=True)
        release(self.device)
        sizes, most = [example.tokens for example in examples], self.row_tokens
        rows = pack(sizes, most)
        if len(rows) == len(sizes):
            raise ModelError(
                f"training step {step}: one example of {max(sizes)} tokens does not fit into memory; turn "
                "training.activation_checkpointing on, take fewer candidates or lower prompt.max_tokens"
            )
        if not self.processes.alone:
            raise ModelError(
                f"training step {step}: out of memory with rows of {most} tokens; set training.row_tokens below that"
            )
        while pack(sizes, most) == rows:
            most //= 2
        self.log.row_tokens.append({"step": step, "row_tokens": most})

    def _chosen_row_tokens(self) -> int:
        most = affordable_row(self.ranker.model, self.config.activation_checkpointing)
        if self.device.type != "cpu" and self.processes.count > 1:  # or a step might be one row, for one process
            most = min(most, math.ceil(self.config.epochs * sum(self.sizes) / self.total / self.processes.count))
        return self.processes.least(most)

    def _save(self, step: int) -> None:
        if self.processes.keeps_state:
            state = TrainingState.of(self.parameters, self.best, self.plain_optimizer, self.processes.gather)
            if self.processes.index == 0:
                save_checkpoint(self.folder, step, self.log, state)

    def _evaluation_steps(self) -> set[int]:
        count = self.config.epochs * self.config.evaluations_per_epoch
        return {round(self.total * (index + 1) / count) for index in range(count)}

    def _fingerprint(self, dtype: str) -> str:
        """Hash of everything that decides the outcome: settings, prompts, labels, weights, dtype, attention."""
        digest = hashlib.sha256(self.config.model_dump_json(exclude=self.config.undecided).encode())
        digest.update(f"{self.ranker.weights.fingerprint} {self.device.type} {dtype}".encode())
        digest.update(f"{is_4bit(self.ranker.model)} {TRAINING_PATH}".encode())
        for part in (self.examples, self.validation):
            for example in part:
                digest.update(json.dumps([example.prompt.prefix, example.prompt.suffixes, example.labels]).encode())
        return digest.hexdigest()


def trained_state(log: TrainingLog) -> Mapping[str, Any]:
    """The part of a log that `manifest.json` keeps."""
    return {
        "best_step": log.best_step,
        "steps": len(log.steps),
        "tokens": log.tokens,
        "row_tokens": log.row_tokens[-1]["row_tokens"],
        "attention": log.attention,
        "seconds": round(log.seconds, 1),
    }
