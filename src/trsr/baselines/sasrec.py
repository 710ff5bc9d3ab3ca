"""SASRec: a small causal transformer over item ids (Kang and McAuley, Self-Attentive Sequential Recommendation, 2018).

With a cross-entropy loss instead of one negative per event, which Klenitskiy and Vasilev (RecSys 2023) found to make
the difference between it and BERT4Rec.
"""

from itertools import product

import torch
from torch import Tensor, nn

from trsr.baselines.fitting import Family, FitData
from trsr.baselines.sequences import (
    DIMENSIONS,
    WINDOW,
    SequenceNetwork,
    SequenceScorer,
    SequenceSettings,
    train_sequences,
)

_BLOCKS, _HEADS = 2, 2


class SasRec(SequenceNetwork):
    """Two blocks of causal self-attention over item and position vectors."""

    def __init__(self, items: int, dropout: float) -> None:
        super().__init__(items)
        self.positions = nn.Parameter(torch.randn(WINDOW + 1, DIMENSIONS) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                DIMENSIONS, _HEADS, DIMENSIONS, dropout, activation="relu", batch_first=True, norm_first=True
            )
            for _ in range(_BLOCKS)
        )
        self.norm = nn.LayerNorm(DIMENSIONS)

    def forward(self, tokens: Tensor) -> Tensor:
        """States (batch, length, dimensions) that have seen the tokens up to their own."""
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        states = self.dropout(self.table(tokens) + self.positions[:length])
        for block in self.blocks:
            states = block(states, src_mask=mask, is_causal=True)
        normed: Tensor = self.norm(states)
        return normed


def fit_sasrec(data: FitData, settings: SequenceSettings, seed: int) -> SequenceScorer:
    """Train on the fitted events."""
    return train_sequences(lambda items: SasRec(items, settings.dropout), data, settings, seed)


SASREC = Family(tuple(SequenceSettings(*chosen) for chosen in product((1e-3, 2e-3, 5e-3), (0.2, 0.4))), fit_sasrec)
