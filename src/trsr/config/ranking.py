"""Settings of the ranking prompt, the ranker and its training."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from trsr.config.settings import Count, Seed, Settings

AttentionPath = Literal["auto", "measure", "blocks", "mask", "flex"]
T = TypeVar("T")
Beta = Annotated[float, Field(ge=0, lt=1)]


class PromptConfig(Settings):
    """The ranking prompt: its template set, what goes in, and the token budget of every part.

    `recent_items` of the latest items are shown, or, by `recent` "budget", as many as the texts of the latest items
    have tokens for in what `recent_items` and a summary may take together, or, by "context", all that `max_tokens`
    has room for. With `popularity_levels`, a candidate's prompt says how popular it is among the events to learn from,
    1 to so many, each level with the same share of the events.
    """

    template: str = "generic"
    recent: Literal["items", "budget", "context"] = "items"
    recent_items: Annotated[int, Field(ge=0)] = 3
    show_ids: bool = False
    popularity_levels: Annotated[int, Field(ge=2, le=9)] | None = None
    item_tokens: Annotated[int, Field(ge=8)] = 64
    candidate_tokens: Annotated[int, Field(ge=8)] = 96
    summary_tokens: Annotated[int, Field(ge=8)] = 128
    max_tokens: Annotated[int, Field(ge=64)] = 2048

    def latest(self, history: Sequence[T]) -> Sequence[T]:
        """The items of a history, oldest first, that a prompt may show; how many, by tokens, is not known here."""
        if self.recent != "items":
            return history
        return history[-self.recent_items :] if self.recent_items else ()


class RankerConfig(Settings):
    """The LLM that answers yes or no, and how it scores.

    `pass_tokens` bounds the tokens of one forward pass, null for what free memory allows. `attention` is how packed
    rows are attended to: "blocks", "mask" or "flex"; "measure" takes the fastest on this machine, "auto" measures
    on a GPU and takes what was found fastest on a CPU. `prefix_cache_mb` keeps the prefixes of returning users.
    `quantization` "4bit" holds the weights in NF4 (QLoRA), which needs bitsandbytes.
    """

    base: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    pass_tokens: Annotated[int, Field(ge=64)] | None = None
    attention: AttentionPath = "auto"
    prefix_cache_mb: Annotated[int, Field(ge=0)] = 0
    quantization: Literal["none", "4bit"] = "none"


class TrainingConfig(Settings):
    """Fine-tuning on packed rows; the defaults for optimiser and LoRA are the paper's.

    `tune`: "lora" trains fp32 adapters on frozen weights, "full" trains every weight, in fp32. `loss`: "answer" is
    cross-entropy of the answer token over the whole vocabulary (as published), "binary" over the two answers only,
    "listwise" a softmax of the log-odds over the candidates of an example, "pairwise" minus the log-sigmoid of a
    positive's log-odds minus a negative's. `positive_weight` multiplies the terms of positives in "answer" and
    "binary" (the sum is still divided by the number of candidates).

    A step takes `examples_per_step` examples, or, where `tokens_per_step` is given, examples until it holds so many
    tokens. They are packed into rows of at most `row_tokens` tokens (a longer example stands alone; null chooses), one
    forward and backward pass each. `activation_checkpointing` trades a second forward pass for memory.

    The step that is kept is the best on validation, the untuned step 0 included: `best_by` "recall" is the mean of
    recall at 3, 5 and 10 (as published), "loss" that of the trained loss.
    """

    tune: Literal["lora", "full"] = "lora"
    epochs: Count = 5
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    clip: Annotated[float, Field(gt=0)] = 1.0
    examples_per_step: Count = 8
    tokens_per_step: Count | None = None
    row_tokens: Count | None = None
    activation_checkpointing: bool = False
    loss: Literal["answer", "binary", "listwise", "pairwise"] = "answer"
    positive_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    lora_r: Count = 8
    lora_alpha: Count = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_modules: list[str] | None = None
    evaluations_per_epoch: Count = 1
    best_by: Literal["recall", "loss"] = "recall"
    seed: Seed = 7

    @property
    def undecided(self) -> set[str]:
        """Settings that keys and fingerprints leave out: `best_by`, which came late, where all is as it was before."""
        return {"best_by"} if self.best_by == "recall" else set()

    @model_validator(mode="after")
    def _weighed(self) -> Self:
        if self.positive_weight != 1 and self.loss in ("listwise", "pairwise"):
            raise ValueError(f"positive_weight has no part in the {self.loss} loss; leave it at 1")
        return self
