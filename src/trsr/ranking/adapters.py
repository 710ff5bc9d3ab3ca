"""What of a model is trained: LoRA on frozen weights (4-bit ones too), or every weight. Trained weights are fp32."""

from typing import Any

import torch

from trsr.config import TrainingConfig
from trsr.errors import ConfigError, ModelError

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "query_key_value", "dense", "qkv_proj", "c_attn")


def prepare(model: Any, config: TrainingConfig) -> Any:
    """The model ready for training as `config.tune` says; changes `model` itself.

    Raises `ModelError` or `ConfigError` when the model cannot be tuned in this way.
    """
    if hasattr(model, "peft_config"):
        raise ModelError(f"{type(model).__name__}: has an adapter already; tune its base model (`model.unload()`)")
    if config.activation_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(f"{type(model).__name__} cannot recompute activations; turn activation_checkpointing off")
    tuned = add_lora(model, config) if config.tune == "lora" else free_all(model)
    if config.activation_checkpointing:
        tuned.gradient_checkpointing_enable({"use_reentrant": False})
    return tuned


def finish(model: Any, dtype: str) -> None:
    """Make a tuned model ready for scoring in `dtype`."""
    model.gradient_checkpointing_disable()
    model.eval()
    if not hasattr(model, "peft_config"):
        _cast(model.requires_grad_(False), getattr(torch, dtype))


def add_lora(model: Any, config: TrainingConfig) -> Any:
    """The model with LoRA layers on its attention (or on `config.lora_modules`), adapter weights in fp32.

    Raises `ModelError` when the model lacks the modules, or one is its output head.
    """
    from peft import LoraConfig, get_peft_model

    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    wanted = config.lora_modules or [name for name in _ATTENTION if name in names]
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise ModelError(
            f"{type(model).__name__} has no modules named {missing or list(_ATTENTION)}; set training.lora_modules"
        )
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    if head.rpartition(".")[2] in wanted:
        raise ModelError(
            f"{type(model).__name__}: LoRA on its output head {head} would have no part in scores, which take two rows "
            "of its weights; leave it out of training.lora_modules"
        )
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=wanted,
        task_type="CAUSAL_LM",
    )
    # PEFT freezes the base and keeps the adapter in fp32. `prepare_model_for_kbit_training` would only add fp32 copies
    # of embeddings, head and norms, which double them and make the tuned model another one than the saved one
    return get_peft_model(model, lora)


def free_all(model: Any) -> Any:
    """The model with every weight trainable, in fp32. Raises `ConfigError` for 4-bit weights, which cannot be."""
    if is_4bit(model):
        raise ConfigError("training.tune full cannot train 4-bit weights; take lora, or ranker.quantization none")
    return _cast(model, torch.float32).requires_grad_(True)


def is_4bit(model: Any) -> bool:
    """Whether the weights of a model are held in 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """The model with its weights in `dtype`; buffers, rotary frequencies above all, stay in fp32 as they are loaded."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
