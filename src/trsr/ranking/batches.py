"""Which examples make a step, which of them share a packed row, at which rate: functions of data and settings alone.

So a run gives the same steps and rows however many processes share it, and after a kill.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trsr.config import TrainingConfig
from trsr.errors import ConfigError
from trsr.llm.memory import free_bytes
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking.packing import Part, Row

_CPU_ROW_TOKENS = 1024  # as in scoring: a CPU gains little beyond
_FEWEST, _MOST = 512, 65536
_SHARE_OF_MEMORY = 0.7


@dataclass(frozen=True)
class LabelledPrompt:
    """A ranking prompt and the label (0 or 1) of each of its candidates."""

    prompt: RankingPrompt
    labels: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of its packed form: the prefix once, and every suffix."""
        return self.prompt.tokens


@dataclass(frozen=True)
class Turn:
    """One row that one process computes: its place among the rows of a step and the examples in it, by index.

    `real` is false where the process had no row left and repeats the first one for nothing, so that all processes
    take part in every exchange; `last` is the turn at which gradients are exchanged.
    """

    place: int
    members: list[int]
    real: bool
    last: bool


def plan_steps(sizes: Sequence[int], config: TrainingConfig) -> list[NDArray[np.int64]]:
    """Examples of every step of a run, by index; each is seen once an epoch, in another order every time.

    `sizes` are the tokens of the examples.
    """
    steps: list[NDArray[np.int64]] = []
    for epoch in range(config.epochs):
        order = np.random.default_rng([config.seed, epoch]).permutation(len(sizes))
        if config.tokens_per_step is None:
            cuts = list(range(config.examples_per_step, len(order), config.examples_per_step))
        else:
            cuts = _full_at([sizes[index] for index in order], config.tokens_per_step)
        steps += np.split(order, cuts)
    return steps


def pack(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Examples, by index and in order, in rows of at most `most` tokens; a longer one stands alone."""
    rows: list[list[int]] = []
    held = 0
    for index, size in enumerate(sizes):
        if not rows or held + size > most:
            rows.append([])
            held = 0
        rows[-1].append(index)
        held += size
    return rows


def turns(rows: Sequence[list[int]], process: int, processes: int) -> Iterator[Turn]:
    """What one process does of a step: every `processes`-th row, as many turns as any other process."""
    count = -(-len(rows) // processes)
    for turn in range(count):
        place = turn * processes + process
        real = place < len(rows)
        yield Turn(place, rows[place if real else 0], real, turn + 1 == count)


def packed(examples: Sequence[LabelledPrompt], device: torch.device, path: str) -> tuple[Row, Tensor]:
    """The row of some examples and the labels (n,) of its suffixes."""
    parts = [Part(example.prompt.prefix, example.prompt.suffixes) for example in examples]
    labels = [label for example in examples for label in example.labels]
    return Row.of(parts, device, path), torch.tensor(labels, device=device)


def row_seed(seed: int, step: int, place: int) -> int:
    """Seed of the dropout of one row."""
    return int(np.random.SeedSequence([seed, step, place]).generate_state(1, np.uint64)[0])


def affordable_row(model: Any, checkpointing: bool) -> int:
    """A good number of tokens for a row: on a GPU what should fit, a power of two; on a CPU a small one.

    The estimate counts what a LoRA layer keeps for the backward pass. Where it is wrong, training halves it.
    """
    device = model.device
    if device.type != "cuda":
        return _CPU_ROW_TOKENS
    config = model.config.get_text_config()
    width, layers, size = config.hidden_size, config.num_hidden_layers, model.dtype.itemsize
    # two norms and four LoRA inputs in fp32 with their masks; seven states of the attention and four of the MLP
    layer = width * (16 + 32 + 7 * size) + 4 * size * getattr(config, "intermediate_size", 4 * width)
    token = layers * width * size + layer if checkpointing else layers * layer
    fitting = _SHARE_OF_MEMORY * free_bytes(device) / token
    return int(min(max(2 ** int(math.log2(max(fitting, 1))), _FEWEST), _MOST))


def learning_rate(step: int, total: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to a tenth of `config.learning_rate`."""
    warmup = max(round(config.warmup * total), 1)
    if step <= warmup:
        return config.learning_rate * step / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def check_labels(examples: Sequence[LabelledPrompt], validation: Sequence[LabelledPrompt], loss: str) -> None:
    """Raise `ConfigError` where there is nothing to train or validate on, or naming the first example of no use.

    Validation needs positives whatever the loss: recall is taken at every evaluation.
    """
    if not examples:
        raise ConfigError("training: there are no examples to train on; give one at least")
    if not validation:
        raise ConfigError("training: there are no validation examples, which choose the best step; give one at least")
    for index, example in enumerate(examples):
        _check_example(f"training example {index}", example.labels, loss, loss in ("listwise", "pairwise"))
    for index, example in enumerate(validation):
        _check_example(f"validation example {index}", example.labels, loss, True)


def _check_example(place: str, labels: Sequence[int], loss: str, ranked: bool) -> None:
    if not labels:
        raise ConfigError(f"{place}: no candidates; give one at least")
    if ranked and 1 not in labels:
        who = f"the {loss} loss" if loss in ("listwise", "pairwise") else "recall"
        raise ConfigError(f"{place}: no positive among its candidates; {who} needs one")
    if loss == "pairwise" and 0 not in labels:
        raise ConfigError(f"{place}: no negative among its candidates; the pairwise loss needs one")


def _full_at(sizes: Sequence[int], tokens: int) -> list[int]:
    """Where to cut a sequence of examples so that each piece but the last holds at least `tokens`."""
    cuts, held = [], 0
    for index, size in enumerate(sizes):
        if held >= tokens:
            cuts.append(index)
            held = 0
        held += size
    return cuts
