"""Settings of the baselines: which of them an experiment has, and the model of the one that embeds texts."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from trsr.config.settings import Settings

BaselineName = Literal[
    "popularity",
    "recent_popularity",
    "bm25",
    "item_knn",
    "als",
    "bpr",
    "embedding",
    "sasrec",
    "gru4rec",
]


def _no_peer(name: object) -> object:
    if name == "bert4rec":
        raise ValueError("bert4rec runs in an environment of its own, with RecTools: see experiments/peers/README.md")
    return name


KnownBaseline = Annotated[BaselineName, BeforeValidator(_no_peer)]


class EmbeddingConfig(Settings):
    """What turns item texts into vectors for the baseline `embedding`.

    `model`: a sentence encoder or a causal LLM (its mean-pooled last hidden states), by folder, hub id or short name;
    null is the ranker's base. `item_tokens` is how much of an item's text is read.
    """

    model: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    item_tokens: Annotated[int, Field(ge=8)] = 64
