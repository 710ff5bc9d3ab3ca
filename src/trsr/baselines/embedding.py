"""Similarity of item texts: cosine between the candidate and a decayed mean of the latest history items.

LLMSeqSim of Harte et al., Leveraging Large Language Models for Sequential Recommendation, RecSys 2023.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from trsr.baselines.fitting import Family, FitData, Vocabulary, mark_unknown
from trsr.data.scoring import RankingRequest, Scores
from trsr.llm.encoders import Vectors, embed_texts, resolve_encoder


@dataclass(frozen=True)
class EmbeddingSettings:
    """`latest` items weigh `decay`^age; `centred` takes the mean of all items out of every vector.

    Hidden states share a large common direction, which hides what tells texts apart (Mu and Viswanath, ICLR 2018).
    """

    latest: int
    decay: float
    centred: bool


@dataclass(frozen=True, eq=False)
class Embedding:
    """Scores every item by its text alone, so none is cold; `vectors` (catalogue, dimensions) have length 1 or 0."""

    catalogue: Vocabulary
    vectors: Vectors
    latest: int
    decay: float

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Cosines (n candidates,) for each request; all 0 without a history."""
        for request in requests:
            history = self.catalogue.known(request.history)[-self.latest :]
            weights = np.power(self.decay, np.arange(len(history))[::-1], dtype=np.float32)
            taste = _unit((weights[:, None] * self.vectors[history]).sum(axis=0, keepdims=True))[0]
            codes = self.catalogue.codes(request.candidates)
            yield mark_unknown(codes, self.vectors[codes] @ taste)


def fit_embedding(data: FitData, settings: EmbeddingSettings, seed: int) -> Embedding:
    """Embed the texts of the catalogue, once for all settings; there is nothing to fit."""
    vectors = data.once("embeddings", lambda: _embed(data))
    if settings.centred:
        vectors = vectors - vectors.mean(axis=0, keepdims=True)
    return Embedding(data.catalogue, _unit(vectors), settings.latest, settings.decay)


def _embed(data: FitData) -> Vectors:
    config = data.embedding
    assert config.model is not None  # whoever made the data put the ranker's base there
    return _unit(embed_texts(resolve_encoder(config.model), data.texts, config.item_tokens, config.dtype))


def _unit(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


EMBEDDING = Family(
    tuple(EmbeddingSettings(*chosen) for chosen in product((5, 20, 50), (0.7, 0.95), (False, True))), fit_embedding
)
