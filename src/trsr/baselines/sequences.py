"""Next-item training of small sequence networks: windows of codes, early stopping, and the scorer.

Every window begins with a start token, so that a person without a history has a score too. The loss is cross-entropy
of the next item: over all fitted items, or, where these are more than `ALL_ITEMS`, over the next item and
`SAMPLED` items drawn uniformly for each batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trsr.baselines.fitting import Codes, FitData, Vocabulary, mark_unknown
from trsr.baselines.value import mean_recall
from trsr.data.scoring import RankingRequest, Scores
from trsr.data.seeds import generator

ALL_ITEMS, SAMPLED = 4096, 512
WINDOW, BATCH, DIMENSIONS = 50, 64, 64
ROUNDS, PATIENCE, ROUND_STEPS = 40, 5, 50
START, _SPECIAL = 1, 2  # code 0 pads; items follow the start token


@dataclass(frozen=True)
class SequenceSettings:
    """What is tried of a network; the number of epochs is chosen by early stopping."""

    learning_rate: float
    dropout: float


class ItemTable(nn.Module):
    """Vectors of padding, start token and items, for input and output alike."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(items + _SPECIAL, DIMENSIONS, padding_idx=0)
        nn.init.normal_(self.vectors.weight, std=0.02)  # larger ones do not learn beyond popularity

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (..., dimensions) of tokens."""
        vectors: Tensor = self.vectors(tokens)
        return vectors

    @property
    def items(self) -> Tensor:
        """Vectors (items, dimensions) of the items alone."""
        return self.vectors.weight[_SPECIAL:]


class SequenceNetwork(nn.Module):
    """A network that reads tokens (batch, length) and gives a state (batch, length, dimensions) at each of them."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.table = ItemTable(items)


@dataclass(frozen=True, eq=False)
class SequenceScorer:
    """Scores by the product of the state after the history with the candidate's vector."""

    items: Vocabulary
    network: SequenceNetwork
    notes: Mapping[str, Any]

    def score(self, requests: Sequence[RankingRequest]) -> Iterator[Scores]:
        """Logits (n candidates,) of the next item for each request."""
        vectors = self.network.table.items.detach().cpu().numpy()
        for start in range(0, len(requests), BATCH):
            some = requests[start : start + BATCH]
            for request, state in zip(some, self._states(some), strict=True):
                codes = self.items.codes(request.candidates)
                yield mark_unknown(codes, vectors[codes] @ state)

    def _states(self, requests: Sequence[RankingRequest]) -> Any:
        histories = [self.items.known(request.history)[-WINDOW:] for request in requests]
        tokens = _pad([np.concatenate([[START], codes + _SPECIAL]) for codes in histories])
        ends = torch.tensor([len(codes) for codes in histories])
        device = self.network.table.items.device
        with torch.no_grad():
            states = self.network.eval()(tokens.to(device)).cpu()
        return states[torch.arange(len(ends)), ends].numpy()


def train_sequences(
    make: Callable[[int], SequenceNetwork], data: FitData, settings: SequenceSettings, seed: int
) -> SequenceScorer:
    """Train until validation recall has not risen for `PATIENCE` rounds and keep the best round; seeded.

    A round is one epoch, or so many that it has `ROUND_STEPS` steps. On a CPU the same seed gives the same network.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = generator(seed, "sequences")
    best: tuple[float, int, dict[str, Tensor]] = (-1.0, 0, {})
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**63)))
        network = make(len(data.fitted.items)).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98))
        windows = _windows(data.sequences)
        epochs = ceil(ROUND_STEPS / ceil(len(windows) / BATCH))
        for turn in range(1, ROUNDS + 1):
            network.train()
            for batch in chain.from_iterable(_batches(windows, rng) for _ in range(epochs)):
                optimizer.zero_grad()
                _loss(network, batch.to(device)).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
            value = mean_recall(SequenceScorer(data.fitted, network, {}), data.validation)
            if value > best[0]:
                best = value, turn, {name: part.detach().clone() for name, part in network.state_dict().items()}
            elif turn - best[1] >= PATIENCE:
                break
    network.load_state_dict(best[2])
    return SequenceScorer(data.fitted, network, {"best_epoch": best[1] * epochs, "epochs": turn * epochs})


def _loss(network: SequenceNetwork, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of each next token of windows (batch, length + 1) that start with the start token."""
    targets = tokens[:, 1:]
    is_real = targets > 0
    states, targets = network(tokens[:, :-1])[is_real], targets[is_real] - _SPECIAL
    vectors = network.table.items
    if len(vectors) <= ALL_ITEMS:
        return nn.functional.cross_entropy(states @ vectors.T, targets)
    drawn = torch.randint(len(vectors), (SAMPLED,), device=tokens.device)
    positive = (states * vectors[targets]).sum(dim=-1, keepdim=True)
    negative = (states @ vectors[drawn].T).masked_fill(targets[:, None] == drawn[None, :], -torch.inf)
    logits = torch.cat([positive, negative], dim=1)
    return nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=tokens.device))


def _windows(sequences: Sequence[Codes]) -> list[Codes]:
    """Every event once: windows of a user's latest events, of those before, and so on, each after a start token."""
    return [
        np.concatenate([[START], codes[max(0, end - WINDOW) : end] + _SPECIAL])
        for codes in sequences
        for end in range(len(codes), 0, -WINDOW)
    ]


def _batches(windows: Sequence[Codes], rng: np.random.Generator) -> Iterator[Tensor]:
    """Padded batches of windows of like length, in an order drawn anew."""
    drawn = rng.permutation(len(windows))
    by_length = drawn[np.argsort([len(windows[index]) for index in drawn], kind="stable")]
    groups = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    for place in rng.permutation(len(groups)):
        yield _pad([windows[index] for index in groups[place]])


def _pad(rows: Sequence[Codes]) -> Tensor:
    padded = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded)
