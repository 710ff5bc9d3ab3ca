"""Tiny random models and tokenizers made on the fly: the mechanics of the real thing in milliseconds."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# as in Gemma: a system role is an error
NO_SYSTEM_ROLE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
FAMILIES = ("llama", "qwen2", "qwen3", "gpt_neox", "mistral", "gemma")
_WORDS = ("yes", "no", " yes", " no")
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
}


def make_tokenizer(
    template: str | None = CHATML,
    bos: bool = False,
    words: tuple[str, ...] = _WORDS,
    extra_markers: tuple[str, ...] = (),
) -> Any:
    """Bytes, the given words as single tokens, and the markers of ChatML as special tokens.

    `bos`: `<s>` goes before every text by itself. `extra_markers` are added tokens that are not "special".
    """
    vocabulary: dict[str, int] = {}
    merges: list[tuple[str, str]] = []
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    for word in words:
        characters = word.replace(" ", "Ġ")
        parts = [characters[0], characters[1:]] if characters[1:] in vocabulary else list(characters)
        while len(parts) > 1:
            joined = parts[0] + parts[1]
            if joined not in vocabulary:
                vocabulary[joined] = len(vocabulary)
                merges.append((parts[0], parts[1]))
            parts[:2] = [joined]
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|im_start|>", "<|im_end|>", "<s>"])
    if extra_markers:
        core.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in extra_markers])
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", bos_token="<s>" if bos else None)
    tokenizer.chat_template = template
    return tokenizer


def make_model(family: str = "llama", seed: int = 0, vocabulary: int = 320, **changes: Any) -> Any:
    """A causal language model of `family` with random weights (biases and norms too), fp32, SDPA, in eval mode."""
    grouped = {"num_key_value_heads": 2}
    kind, config, more = {
        "llama": (LlamaForCausalLM, LlamaConfig, grouped),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config, grouped | {"tie_word_embeddings": True}),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config, grouped | {"head_dim": 16}),
        "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {"rotary_pct": 0.5}),
        "mistral": (MistralForCausalLM, MistralConfig, grouped | {"sliding_window": None}),
        "gemma": (GemmaForCausalLM, GemmaConfig, grouped | {"head_dim": 8, "tie_word_embeddings": True}),
    }[family]
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    settings = _SMALL | {"vocab_size": vocabulary, "attn_implementation": "sdpa"} | special | more | changes
    return randomise(kind(config(**settings)), seed)


def randomise(model: Any, seed: int = 0) -> Any:
    """Give every weight of `model` a random value that matters, so that no mistake hides behind a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.25 * noise if parameter.ndim > 1 else parameter + 0.1 * noise)
    return model.float().eval()


def save_folder(folder: Path, model: Any = None, tokenizer: Any = None) -> Path:
    """Model and tokenizer as a folder in the Hugging Face layout."""
    (make_model() if model is None else model).save_pretrained(folder)
    (make_tokenizer() if tokenizer is None else tokenizer).save_pretrained(folder)
    return folder
