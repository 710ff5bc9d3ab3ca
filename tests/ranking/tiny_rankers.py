"""Tiny rankers, examples with a rule that can be learnt, and processes that die in the middle of training."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tiny import make_model, make_tokenizer, save_folder
from trsr.config import PromptConfig, RankerConfig, TrainingConfig
from trsr.prompts.ranking import RankingPrompt
from trsr.ranking import training
from trsr.ranking.ranker import Ranker
from trsr.ranking.training import LabelledPrompt, train

GOOD, QUESTION = 65, 90  # the candidate that has GOOD in it is the one that is chosen
SETTINGS = TrainingConfig(
    epochs=3, learning_rate=2e-2, examples_per_step=4, loss="listwise", lora_dropout=0.1, evaluations_per_epoch=2
)
BOOKS = [{"title": "Sea birds"}, {"title": "Old boats"}, {"title": "Green lamps"}]


def make_base(folder: Path, seed: int = 0) -> Path:
    tokenizer = make_tokenizer()
    return save_folder(folder, make_model("llama", seed, vocabulary=len(tokenizer)), tokenizer)


def make_ranker(base: Path, **changes) -> Ranker:
    """A fresh untuned ranker: training puts LoRA into the model that it is given."""
    prompt = PromptConfig(**({"max_tokens": 1024} | changes))
    return Ranker.from_base(RankerConfig(base=str(base), dtype="float32"), prompt, ["title", "subject"])


def make_examples(count: int, candidates: int, seed: int) -> list[LabelledPrompt]:
    """The prefix says nothing; one candidate holds the good token, and all end with the same question."""
    random = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        prefix, *suffixes = random.integers(0, 20, (candidates + 1, 4)).tolist()
        target = int(random.integers(candidates))
        suffixes[target][2] = GOOD
        labels = tuple(int(index == target) for index in range(candidates))
        ids = tuple((*suffix, QUESTION) for suffix in suffixes)
        examples.append(LabelledPrompt(RankingPrompt(tuple(prefix), ids, "", ()), labels))
    return examples


def examples_for_training() -> tuple[list[LabelledPrompt], list[LabelledPrompt]]:
    return make_examples(24, 5, seed=1), make_examples(20, 12, seed=2)


def train_here(base: Path, folder: Path, settings: TrainingConfig = SETTINGS, on_step=None):
    return train(make_ranker(base), *examples_for_training(), settings, folder, on_step)


def adapter_of(ranker: Ranker) -> dict[str, list[float]]:
    """Exact values of the adapter (floats survive JSON)."""
    named = ranker.model.named_parameters()
    return {name: value.detach().flatten().tolist() for name, value in named if "lora_" in name}


def train_until_killed(base: Path, folder: Path, step: int, save_every_step: bool) -> None:
    """Body of a process that dies of SIGKILL behind `step`."""
    if save_every_step:
        training._CHECKPOINT_SECONDS = training._CHECKPOINT_SHARE = 0

    def on_step(done, total, loss):
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    train_here(base, folder, on_step=on_step)


def train_and_write(base: Path, folder: Path, result: Path) -> None:
    """Body of a process that trains to the end and writes adapter and log."""
    ranker, log = train_here(base, folder)
    result.write_text(json.dumps([adapter_of(ranker), asdict(log)]), encoding="utf-8")
