"""Which model families share a prefix exactly, and how long their prompts may be; the others are refused by name."""

from dataclasses import dataclass
from typing import Any

import torch

from trsr.errors import ConfigError, ModelError
from trsr.llm.memory import ran_out
from trsr.ranking.attention import INSTEAD
from trsr.ranking.packing import Part, PrefixState, Row
from trsr.ranking.shared_prefix import AnswerHead, last_hidden, packed_log_odds

# hand their sliding window to the attention function; of other families only the length is known
_WINDOWED = frozenset(
    {
        "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "starcoder2", "exaone4", "olmo3",
        "cohere2",
    }
)  # fmt: skip
_ALIBI = frozenset({"bloom", "mpt"})
_RECURRENT = frozenset(
    {
        "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "lfm2", "lfm2_moe", "mamba", "mamba2",
        "minimax", "nemotron_h", "qwen3_next", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
    }
)  # fmt: skip
_ATTENTION = frozenset({"full_attention", "sliding_attention"})
_ROPES_BY_LENGTH = frozenset({"dynamic", "longrope"})


@dataclass(frozen=True)
class Limit:
    """The longest prompt in tokens that a model reads exactly here, and what sets that bound."""

    tokens: int
    what: str


def check_family(model: Any) -> None:
    """Raise `ModelError` by name for a family whose tokens see more than earlier tokens by place in the prompt."""
    config = model.config.get_text_config()
    kind = config.model_type
    kinds = set(getattr(config, "layer_types", None) or ()) - _ATTENTION
    reason = None
    if kind in _RECURRENT:
        reason = "carry a state from token to token, which candidates behind one prefix cannot share"
    elif kinds:
        reason = f"have layers that are neither full nor sliding attention ({', '.join(sorted(kinds))})"
    elif kind in _ALIBI or getattr(config, "alibi", False):
        reason = "weigh tokens by their distance in the row (ALiBi)"
    elif getattr(config, "use_bidirectional_attention", False):
        reason = "let tokens see later ones"
    elif not getattr(model, "_supports_attention_backend", False):
        reason = "compute attention in a way of their own"
    if reason is not None:
        raise ModelError(f"{kind} models {reason}; {INSTEAD}")


def prompt_limit(config: Any) -> Limit | None:
    """The longest prompt that a model of this config scores exactly, None where nothing bounds it."""
    config = config.get_text_config()
    limits = []
    context = getattr(config, "max_position_embeddings", None)
    if context is not None:
        limits.append(Limit(context, "context"))
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if window is not None and "sliding_attention" in kinds and config.model_type not in _WINDOWED:
        limits.append(Limit(window, "sliding window"))
    what = "rotary embedding that changes beyond its length,"
    limits += [Limit(length, what) for length in _original_lengths(config)]
    return min(limits, key=lambda limit: limit.tokens, default=None)


def _original_lengths(config: Any) -> list[int]:
    """Lengths beyond which a rotary embedding is another one for all tokens of the prompt, the earlier ones too."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope] if "rope_type" in rope else [kind for kind in rope.values() if isinstance(kind, dict)]
    return [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in _ROPES_BY_LENGTH
    ]


def check_length(config: Any, tokens: int, what: str) -> None:
    """Raise `ConfigError`, beginning with `what`, when prompts of `tokens` tokens are more than a model reads."""
    limit = prompt_limit(config)
    if limit is not None and tokens > limit.tokens:
        raise ConfigError(
            f"{what}: this {config.model_type} model has a {limit.what} of {limit.tokens} tokens; lower "
            "prompt.max_tokens or take another model"
        )


def check_exact(model: Any, head: AnswerHead, answers: tuple[int, int], path: str) -> None:
    """Score two short prompts in all ways; raise `ModelError` by name where a shared prefix changes the result.

    Catches what a model family adds that nobody thought of: scaled logits, biases by place, state.
    """
    check_family(model)
    kind = model.config.model_type
    try:
        alone, shared = _both_ways(model, head, answers, path)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        if ran_out(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{kind} models cannot share a prefix here ({reason}); {INSTEAD}") from None
    allowed = (1e-3 if model.dtype == torch.float32 else 0.1) * (1 + alone.abs())
    if any(((values - alone).abs() > allowed).any() for values in shared):
        raise ModelError(f"{kind} models are not scored exactly behind a shared prefix; {INSTEAD}")


@torch.inference_mode()
def _both_ways(
    model: Any, head: AnswerHead, answers: tuple[int, int], path: str
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    size = model.config.get_text_config().vocab_size
    tokens = [(7 * place + 3) % size for place in range(12)]
    prefix, suffixes = tokens[:6], [tokens[6:9], tokens[9:]]
    device = head.weight.device
    rows = [torch.tensor([prefix + suffix], device=device) for suffix in suffixes]
    logits = torch.stack([model(row).logits[0, -1].float() for row in rows])
    state = PrefixState(len(prefix))
    last_hidden(model, Row.of([Part(prefix, (), keep=state)], device, path))
    behind = last_hidden(model, Row.of([Part((), suffixes, known=state)], device, path))
    alone = logits[:, answers[0]] - logits[:, answers[1]]
    return alone, [packed_log_odds(model, head, prefix, suffixes, path), head.log_odds(behind)]
