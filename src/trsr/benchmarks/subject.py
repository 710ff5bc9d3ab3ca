"""The model that is measured: its answers, and the token ids that its inputs are drawn from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trsr.errors import ConfigError
from trsr.llm.chat import Answers, ChatFormat
from trsr.llm.weights import load_model, load_tokenizer, pick_device, pick_dtype, resolve_weights
from trsr.prompts.templates import TemplateSet
from trsr.ranking.families import check_family
from trsr.ranking.packing import Tokens
from trsr.ranking.shared_prefix import AnswerHead, decoder_of

DTYPES = ("auto", "float32", "bfloat16", "float16")
SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 8192,
    }
}
_TRIED_IDS, _WORDS = 4000, 512


@dataclass(frozen=True)
class Subject:
    """A causal language model with its two answer tokens; `folder` is None for random weights.

    `pool` are the ids that prompts are drawn from: words that stay the same ids when they are read back from text, or
    all ids where there are no such words.
    """

    name: str
    model: Any
    answers: Answers
    pool: Tokens
    folder: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def decoder(self) -> Any:
        """The model below its output head."""
        return decoder_of(self.model)

    @cached_property
    def head(self) -> AnswerHead:
        """The answer rows of the output head, without gradients."""
        with torch.no_grad():
            return AnswerHead.of(self.model, self.answers.yes_id, self.answers.no_id)

    def ids(self, rows: Any) -> torch.Tensor:
        """Token ids on the device of the model."""
        return torch.tensor(rows, device=self.device)


def load_subject(name: str, dtype: str) -> Subject:
    """A model by name or folder. Raises `ModelError` when its weights cannot be had or it cannot share a prefix."""
    _check_dtype(dtype)
    weights = resolve_weights(name)
    tokenizer = load_tokenizer(weights)
    words = TemplateSet("generic")
    answers = ChatFormat(tokenizer).answers(words.yes, words.no)
    model = load_model(weights, dtype)
    check_family(model)
    model.config.use_cache = False  # a plain forward pass would else fill a cache that nobody reads
    pool = tuple(_words(tokenizer)) or tuple(range(model.config.get_text_config().vocab_size))
    return Subject(weights.name, model, answers, pool, weights.path)


def random_subject(size: str, dtype: str, force: bool = False) -> Subject:
    """A Llama of a known size with random weights, on a GPU only unless forced. Raises `ConfigError`."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    _check_dtype(dtype)
    if size not in SHAPES:
        raise ConfigError(f"--random-weights: no size {size!r}; take {' or '.join(SHAPES)}")
    device = pick_device()
    if device.type == "cpu" and not force:
        raise ConfigError(
            f"--random-weights {size}: too slow without a GPU; add --force to measure it here all the same"
        )
    config = LlamaConfig(**SHAPES[size])
    chosen = pick_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=chosen, attn_implementation="sdpa").eval()
    model.config.use_cache = False
    answers = Answers(1, 2, "<1>", "<2>")
    return Subject(f"{size} with random weights", model, answers, tuple(range(config.vocab_size)))


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: no dtype {dtype!r}; take {', '.join(DTYPES)}")


def _words(tokenizer: Any) -> Iterator[int]:
    """Some of the ids that are a space and a word, and that a text of such words gives back."""
    tried = np.random.default_rng(0).permutation(len(tokenizer))[:_TRIED_IDS].tolist()
    texts = {token: tokenizer.decode([token]) for token in tried}
    words = [token for token, text in texts.items() if re.fullmatch(r" [a-z]+", text)]
    for token in words[:_WORDS]:
        if tokenizer(texts[token], add_special_tokens=False)["input_ids"] == [token]:
            yield token
