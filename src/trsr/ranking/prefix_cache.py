"""Prefixes of returning users: their keys and values, least recently used first to go, bounded in bytes."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from trsr.ranking.packing import PrefixState


class PrefixCache:
    """Keys and values by everything that they depend on; what does not fit into `max_bytes` is not kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._states: OrderedDict[bytes, PrefixState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, key: bytes) -> bool:
        return key in self._states

    def get(self, key: bytes) -> PrefixState | None:
        """The state kept under `key`, which is then the last to go."""
        state = self._states.get(key)
        if state is not None:
            self._states.move_to_end(key)
        return state

    def put(self, key: bytes, state: PrefixState) -> None:
        """Keep a state, and drop the least recently used ones until all fit."""
        if state.nbytes > self.max_bytes:
            return
        self.drop(key)
        self._states[key] = state
        self.bytes += state.nbytes
        while self.bytes > self.max_bytes:
            self.drop(next(iter(self._states)))

    def drop(self, key: bytes) -> None:
        """Forget a state, if it is there."""
        state = self._states.pop(key, None)
        if state is not None:
            self.bytes -= state.nbytes


def prefix_key(prefix: Sequence[int], weights: str) -> bytes:
    """Key of a prefix: its token ids (they hold template, summary and recent items) and the state of the weights."""
    digest = hashlib.blake2b(weights.encode(), digest_size=20)
    digest.update(torch.tensor(prefix, dtype=torch.int64).numpy().tobytes())
    return digest.digest()


def weights_state(model: Any) -> str:
    """What a model computes with, as text: its identity, and which adapters are on with which values.

    Changes when an adapter is exchanged, switched off or trained on, also in place; of the base weights only the
    model object counts.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    digest = hashlib.blake2b(digest_size=20)
    for layer in layers:
        scaling = sorted(getattr(layer, "scaling", {}).items())
        digest.update(f"{layer.active_adapters} {layer.disable_adapters} {layer.merged} {scaling}".encode())
        for name, value in layer.named_parameters():
            if name.split(".")[0] in layer.adapter_layer_names:
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return f"{id(model)} {model.dtype} {digest.hexdigest()}"
