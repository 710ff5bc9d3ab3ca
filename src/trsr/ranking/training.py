"""LoRA fine-tuning: one packed row per example, the loss on the answers only, the best step by validation recall.

On a CPU the whole loop is deterministic given examples and settings, and continues exactly where a kill left it.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trsr.config import TrainingConfig
from trsr.errors import ModelError
from trsr.evaluation.metrics import ranking_metrics
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.checkpoint import TrainingLog, load_checkpoint, save_checkpoint
from trsr.ranking.losses import Loss, make_loss
from trsr.ranking.ranker import Ranker
from trsr.ranking.shared_prefix import check_finite, packed_hidden

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "query_key_value", "dense", "qkv_proj", "c_attn")
_CHECKPOINT_SECONDS = 20.0
_RECALL_KS = (3, 5, 10)


@dataclass(frozen=True)
class LabelledPrompt:
    """A ranking prompt and the label (0 or 1) of each of its candidates."""

    prompt: RankingPrompt
    labels: tuple[int, ...]


Progress = Callable[[int, int, float], None]


def add_lora(model: Any, config: TrainingConfig) -> Any:
    """The model with LoRA layers on its attention (or on `config.lora_modules`), adapter weights in fp32.

    Raises `ModelError` when the model is tuned already or lacks the modules.
    """
    from peft import LoraConfig, get_peft_model

    if hasattr(model, "peft_config"):
        raise ModelError(f"{type(model).__name__}: has an adapter already; tune its base model (`model.unload()`)")
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    wanted = config.lora_modules or [name for name in _ATTENTION if name in names]
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise ModelError(
            f"{type(model).__name__} has no modules named {missing or list(_ATTENTION)}; set training.lora_modules"
        )
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=wanted,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def train(
    ranker: Ranker,
    examples: Sequence[LabelledPrompt],
    validation: Sequence[LabelledPrompt],
    config: TrainingConfig,
    folder: Path,
    on_step: Progress | None = None,
) -> tuple[Ranker, TrainingLog]:
    """Tune `ranker` on `examples`; gives the ranker with the best adapter and the log.

    `folder` holds the checkpoints: call again with the same arguments after a kill and the run continues.
    `on_step` is told steps done, steps in all and the loss.
    """
    model = add_lora(ranker.model, config)
    loop = _Loop(ranker.with_model(model), examples, validation, config, folder)
    loop.run(on_step)
    for name, parameter in loop.parameters.items():
        parameter.data.copy_(loop.best[name])
    model.eval()
    return loop.ranker, loop.log


class _Loop:
    def __init__(
        self,
        ranker: Ranker,
        examples: Sequence[LabelledPrompt],
        validation: Sequence[LabelledPrompt],
        config: TrainingConfig,
        folder: Path,
    ) -> None:
        self.ranker, self.examples, self.validation, self.config = ranker, examples, validation, config
        self.folder = folder
        self.parameters: dict[str, Tensor] = {
            name: parameter for name, parameter in ranker.model.named_parameters() if parameter.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        self.loss: Loss = make_loss(config.loss, ranker.model, ranker.head, ranker.answers)
        self.steps_per_epoch = math.ceil(len(examples) / config.examples_per_step)
        self.total = self.steps_per_epoch * config.epochs
        self.log = TrainingLog(self._fingerprint())
        self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def run(self, on_step: Progress | None) -> None:
        restored = load_checkpoint(self.folder, self.log.fingerprint, self.parameters, self.optimizer)
        start = 0
        if restored is not None:
            start, self.log, best = restored
            self.best = {name: best[name].to(parameter.device) for name, parameter in self.parameters.items()}
        else:
            self._evaluate(0)
        clock = saved = time.monotonic()
        for step in range(start + 1, self.total + 1):
            loss = self._step(step)
            evaluated = step in self._evaluation_steps()
            if evaluated:
                self._evaluate(step)
            now = time.monotonic()
            self.log.seconds, clock = self.log.seconds + now - clock, now
            if evaluated or now - saved > _CHECKPOINT_SECONDS:
                save_checkpoint(self.folder, step, self.log, self.parameters, self.optimizer, self.best)
                saved = now
            if on_step is not None:
                on_step(step, self.total, loss)

    def _step(self, step: int) -> float:
        """One optimiser step over `examples_per_step` examples; gives their mean loss."""
        model, device = self.ranker.model, self.ranker.head.weight.device
        model.train()
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._schedule(step)
        chosen = self._batch(step)
        total = 0.0
        for example in chosen:
            hidden = packed_hidden(model, example.prompt.prefix, example.prompt.suffixes, device)
            loss = self.loss(hidden, torch.tensor(example.labels, device=device)) / len(chosen)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            self.log.tokens += len(example.prompt.prefix) + sum(len(suffix) for suffix in example.prompt.suffixes)
        if not math.isfinite(total):
            raise ModelError(f"training step {step}: the loss is {total}; lower training.learning_rate or use float32")
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.log.steps.append({"step": step, "loss": total})
        return total

    def _batch(self, step: int) -> list[LabelledPrompt]:
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.examples))
        size = self.config.examples_per_step
        return [self.examples[index] for index in order[place * size : (place + 1) * size]]

    def _schedule(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a tenth of the learning rate."""
        warmup = max(round(self.config.warmup * self.total), 1)
        if step <= warmup:
            return step / warmup
        progress = (step - warmup) / max(self.total - warmup, 1)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))

    def _evaluation_steps(self) -> set[int]:
        count = self.config.epochs * self.config.evaluations_per_epoch
        return {round(self.total * (index + 1) / count) for index in range(count)}

    def _evaluate(self, step: int) -> None:
        """Loss (the trained one) and recall on validation; keep the adapter if its recall is the best so far."""
        model, head = self.ranker.model.eval(), self.ranker.head
        scores: list[float] = []
        labels: list[int] = []
        owners: list[int] = []
        losses: list[float] = []
        for index, example in enumerate(self.validation):
            with torch.inference_mode():
                hidden = packed_hidden(model, example.prompt.prefix, example.prompt.suffixes, head.weight.device)
                losses.append(self.loss(hidden, torch.tensor(example.labels, device=hidden.device)).item())
                scores.extend(check_finite(head.log_odds(hidden)).tolist())
            labels.extend(example.labels)
            owners.extend([index] * len(example.labels))
        metrics = ranking_metrics(scores, labels, owners, _RECALL_KS)
        recall = float(np.mean([metrics[f"recall@{k}"].mean() for k in _RECALL_KS]))
        entry = {"step": step, "valid_loss": float(np.mean(losses)), "valid_recall": recall}
        best = max(self.log.evaluations, key=_worth, default=None)
        self.log.evaluations.append(entry)
        if best is None or _worth(entry) > _worth(best):
            self.log.best_step = step
            self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def _fingerprint(self) -> str:
        """Hash of everything that decides the outcome: settings, prompts, labels, weights, dtype."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        digest.update(
            f"{self.ranker.weights.fingerprint} {self.ranker.head.weight.device} {self.ranker.dtype}".encode()
        )
        for part in (self.examples, self.validation):
            for example in part:
                digest.update(json.dumps([example.prompt.prefix, example.prompt.suffixes, example.labels]).encode())
        return digest.hexdigest()


def _worth(evaluation: Mapping[str, float]) -> tuple[float, float]:
    """Higher is better: recall, and the loss where recalls are equal."""
    return evaluation["valid_recall"], -evaluation["valid_loss"]


def trained_state(log: TrainingLog) -> Mapping[str, Any]:
    """The part of a log that `manifest.json` keeps."""
    return {"best_step": log.best_step, "steps": len(log.steps), "tokens": log.tokens, "seconds": round(log.seconds, 1)}
