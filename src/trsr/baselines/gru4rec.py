"""GRU4Rec: a recurrent network over item ids (Hidasi et al., Session-based Recommendations with RNNs, ICLR 2016).

With the cross-entropy over many items of Hidasi and Karatzoglou, CIKM 2018.
"""

from itertools import product

from torch import Tensor, nn

from trsr.baselines.fitting import Family, FitData
from trsr.baselines.sequences import (
    DIMENSIONS,
    SequenceNetwork,
    SequenceScorer,
    SequenceSettings,
    train_sequences,
)


class Gru4Rec(SequenceNetwork):
    """One GRU layer over item vectors, and a layer from its state back to them."""

    def __init__(self, items: int, dropout: float) -> None:
        super().__init__(items)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(DIMENSIONS, DIMENSIONS, batch_first=True)
        self.out = nn.Linear(DIMENSIONS, DIMENSIONS)

    def forward(self, tokens: Tensor) -> Tensor:
        """States (batch, length, dimensions) that have seen the tokens up to their own."""
        states, _ = self.gru(self.dropout(self.table(tokens)))
        last: Tensor = self.out(self.dropout(states))
        return last


def fit_gru4rec(data: FitData, settings: SequenceSettings, seed: int) -> SequenceScorer:
    """Train on the fitted events."""
    return train_sequences(lambda items: Gru4Rec(items, settings.dropout), data, settings, seed)


GRU4REC = Family(tuple(SequenceSettings(*chosen) for chosen in product((2e-3, 5e-3, 1e-2), (0.2, 0.4))), fit_gru4rec)
