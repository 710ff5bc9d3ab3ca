"""Tiny random models and tokenizers made on the fly: the mechanics of the real thing in milliseconds."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

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
_WORDS = ("yes", "no", " yes", " no")
WINDOW = 16
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
}
_GROUPED = {"num_key_value_heads": 2}
_SLIDING_THEN_FULL = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.5, 2.0, 3.0],
    "long_factor": [4.0, 6.0, 8.0, 12.0],
    "factor": 4.0,
    "original_max_position_embeddings": 96,
}
# name: stem of the classes in transformers, and settings that make a small model use all that its family adds
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "smollm2": ("Llama", _GROUPED | {"tie_word_embeddings": True}),
    "mistral": ("Mistral", _GROUPED | {"sliding_window": None}),
    "mistral-window": ("Mistral", _GROUPED | {"sliding_window": WINDOW}),
    "mixtral": ("Mixtral", _GROUPED | {"num_local_experts": 4}),
    "qwen2": ("Qwen2", _GROUPED | {"tie_word_embeddings": True}),
    "qwen2-window": (
        "Qwen2",
        _GROUPED | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", _GROUPED | {"head_dim": 16}),
    "gemma": ("Gemma", _GROUPED | {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": (
        "Gemma2",
        _GROUPED
        | _SLIDING_THEN_FULL
        | {
            "head_dim": 8,
            "query_pre_attn_scalar": 4,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 6.0,
        },
    ),
    "gemma3": (
        "Gemma3",
        _GROUPED
        | _SLIDING_THEN_FULL
        | {
            "head_dim": 8,
            "query_pre_attn_scalar": 4,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        },
    ),
    "phi": ("Phi", {"partial_rotary_factor": 0.5}),
    "phi3-window": ("Phi3", _GROUPED | {"sliding_window": WINDOW}),
    "phi3-longrope": ("Phi3", _GROUPED | {"sliding_window": None, "rope_parameters": _LONGROPE}),
    "smollm3": ("SmolLM3", _GROUPED | {"no_rope_layers": [1, 0]}),
    "smollm3-window": (
        "SmolLM3",
        _GROUPED | _SLIDING_THEN_FULL | {"use_sliding_window": True, "no_rope_layers": [1, 0]},
    ),
    "gpt_neox": ("GPTNeoX", {"rotary_pct": 0.5}),
    "gpt2": ("GPT2", {}),
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "starcoder2-window": ("Starcoder2", _GROUPED | {"sliding_window": WINDOW}),
    "olmo2": ("Olmo2", _GROUPED),
    "olmo3": ("Olmo3", _GROUPED | _SLIDING_THEN_FULL),
    "cohere": ("Cohere", _GROUPED | {"logit_scale": 0.5}),
    "cohere2": ("Cohere2", _GROUPED | _SLIDING_THEN_FULL | {"logit_scale": 0.5, "head_dim": 8}),
    "granite": (
        "Granite",
        _GROUPED
        | {
            "logits_scaling": 3.0,
            "attention_multiplier": 0.7,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 2.0,
        },
    ),
    "exaone4": ("Exaone4", _GROUPED | _SLIDING_THEN_FULL),
    "glm": ("Glm", _GROUPED | {"head_dim": 8}),
}
FAMILIES = tuple(_FAMILIES)
WINDOWED = tuple(name for name, (_, settings) in _FAMILIES.items() if settings.get("sliding_window"))


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
    """A causal language model of `family` with random weights (biases and norms too), fp32, in eval mode."""
    stem, more = _FAMILIES[family]
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    attention = "eager" if family == "gemma2" else "sdpa"  # transformers has no SDPA for capped attention scores
    settings = _SMALL | {"vocab_size": vocabulary, "attn_implementation": attention} | special | more | changes
    config = getattr(transformers, f"{stem}TextConfig" if stem == "Gemma3" else f"{stem}Config")
    if stem == "GPT2":
        return randomise(transformers.GPT2LMHeadModel(config(**settings)), seed)
    return randomise(getattr(transformers, f"{stem}ForCausalLM")(config(**settings)), seed)


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
