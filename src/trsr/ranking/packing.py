"""Packed rows: the prefixes and suffixes of one or more users in one row of tokens.

A token may look at what comes before it in its own prompt: a prefix token at its prefix, a suffix token at the
prefix and at its own suffix. Positions are places in the prompt, so each suffix goes on where its prefix ends. A
prefix may also be known already: then its keys and values stand in a `PrefixState` and the row has suffixes only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

Tokens = Sequence[int]


@dataclass(frozen=True)
class PrefixState:
    """Keys and values (kv heads, length, size) of a prefix by layer."""

    length: int
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory that it holds, in bytes."""
        return sum(tensor.nbytes for pair in self.layers.values() for tensor in pair)


@dataclass(frozen=True)
class Part:
    """What one user brings into a row: prefix and suffixes, or suffixes behind a known prefix.

    `keep` is filled with the keys and values of `prefix` when the row runs.
    """

    prefix: Tokens
    suffixes: Sequence[Tokens]
    known: PrefixState | None = None
    keep: PrefixState | None = None

    @property
    def tokens(self) -> int:
        """Tokens that it adds to the row."""
        return len(self.prefix) + sum(map(len, self.suffixes))


@dataclass(frozen=True)
class Suffixes:
    """Suffixes of one user, one after another (tokens), and side by side (count, longest).

    `places` (count, longest) are their tokens, shorter ones filled up with their last; `real` is false at the
    filling. Both are None where all are equally long and side by side is a matter of shape.
    """

    count: int
    longest: int
    places: Tensor | None
    real: Tensor | None
    later: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Suffixes":
        """Lay out suffixes of these lengths in tokens."""
        longest = max(lengths)
        later = torch.ones(longest, longest, dtype=torch.bool, device=device).triu(1)
        if min(lengths) == longest:
            return cls(len(lengths), longest, None, None, later)
        sizes = torch.tensor(lengths, device=device)[:, None]
        steps = torch.arange(longest, device=device)[None]
        first = sizes.cumsum(0) - sizes
        return cls(len(lengths), longest, first + torch.minimum(steps, sizes - 1), steps < sizes, later)

    def spread(self, rows: Tensor, fill: bool = True) -> Tensor:
        """From (..., tokens, size) to (..., count, longest, size); the filling is zero where not `fill`."""
        if self.places is None or self.real is None:
            return rows.reshape(*rows.shape[:-2], self.count, self.longest, rows.shape[-1])
        side_by_side = rows[..., self.places, :]
        return side_by_side if fill else side_by_side * self.real[..., None]

    def gather(self, side_by_side: Tensor) -> Tensor:
        """From (..., count, longest, size) back to (..., tokens, size), without the filling."""
        return side_by_side.flatten(-3, -2) if self.real is None else side_by_side[..., self.real, :]


@dataclass(frozen=True)
class Group:
    """Where one user stands in a row: prefix from `start`, suffixes behind it up to `end`."""

    part: Part
    start: int
    prefix: int
    end: int
    suffixes: Suffixes | None

    @property
    def before(self) -> int:
        """Length of the prefix, in the row or known."""
        return self.prefix if self.part.known is None else self.part.known.length

    def known(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of a prefix that is not in the row."""
        return None if self.part.known is None else self.part.known.layers[layer]

    def keep(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Copy the prefix's keys and values out of those of the row (kv heads, length, size), where wanted."""
        if self.part.keep is not None:
            here = slice(self.start, self.start + self.prefix)
            self.part.keep.layers[layer] = (key[:, here].detach().clone(), value[:, here].detach().clone())

    def outside(self, window: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """What a sliding window hides from suffix tokens: (tokens, prefix) and (tokens, longest); None if nothing."""
        assert self.suffixes is not None
        if self.before + self.suffixes.longest <= window:
            return None
        steps = torch.arange(self.suffixes.longest, device=device).expand(self.suffixes.count, -1)
        place = self.suffixes.gather(steps[..., None])[:, 0]
        prefix = torch.arange(self.before, device=device)
        own = torch.arange(self.suffixes.longest, device=device)
        return prefix <= place[:, None] + self.before - window, own <= place[:, None] - window


@dataclass(frozen=True)
class Layout:
    """Groups of a row and how their attention is computed: "blocks", "mask" or "flex".

    `owner` and `position` (length,) tell for each token of the row its user and suffix, and its place in the prompt.
    """

    groups: tuple[Group, ...]
    path: str
    owner: Tensor
    position: Tensor

    def with_known(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the row behind those of all known prefixes."""
        known = [pair for group in self.groups if (pair := group.known(layer)) is not None]
        if not known:
            return key, value
        keys, values = zip(*known, strict=True)
        return torch.cat([*(tensor[None] for tensor in keys), key], 2), torch.cat(
            [*(tensor[None] for tensor in values), value], 2
        )

    def mask(self, window: int | None) -> Tensor:
        """Boolean mask (1, 1, length, known + length), true where a token may look."""
        if window not in self._masks:
            query = torch.arange(len(self.owner), device=self.owner.device)[:, None]
            keys = torch.arange(len(self._key_side[0]), device=self.owner.device)[None]
            self._masks[window] = self._allowed(query, keys, window)[None, None]
        return self._masks[window]

    def block_mask(self, window: int | None) -> Any:
        """The same mask as a rule for FlexAttention."""
        if window not in self._block_masks:
            self._block_masks[window] = _block_mask_maker(self.owner.device.type)(
                lambda _batch, _head, query, key: self._allowed(query, key, window),
                None,
                None,
                len(self.owner),
                len(self._key_side[0]),
                device=str(self.owner.device),
            )
        return self._block_masks[window]

    def _allowed(self, query: Tensor, key: Tensor, window: int | None) -> Tensor:
        owner, position = self._key_side
        user, own = self.owner[query].div(_SPAN, rounding_mode="floor"), self.owner[query]
        near = (owner[key] == own) | (owner[key] == user * _SPAN)
        seen = near & (position[key] <= self.position[query])
        return seen if window is None else seen & (position[key] > self.position[query] - window)

    @cached_property
    def _masks(self) -> dict[int | None, Tensor]:
        return {}

    @cached_property
    def _block_masks(self) -> dict[int | None, Any]:
        return {}

    @cached_property
    def _key_side(self) -> tuple[Tensor, Tensor]:
        """Owner and position of every key: known prefixes first, then the row."""
        owners, positions = [], []
        for index, group in enumerate(self.groups):
            if group.part.known is not None:
                length = group.part.known.length
                owners.append(torch.full((length,), index * _SPAN, device=self.owner.device))
                positions.append(torch.arange(length, device=self.owner.device))
        return torch.cat([*owners, self.owner]), torch.cat([*positions, self.position])


@dataclass(frozen=True)
class Row:
    """A packed row: `ids` and `positions` (1, length), and `ends` (n,), the last token of every suffix in order."""

    ids: Tensor
    positions: Tensor
    ends: Tensor
    layout: Layout

    @classmethod
    def of(cls, parts: Sequence[Part], device: torch.device, path: str) -> "Row":
        """Lay out `parts` one after another; `path` is the way in which attention is computed."""
        ids: list[int] = []
        positions: list[int] = []
        owner: list[int] = []
        ends: list[int] = []
        groups = []
        for index, part in enumerate(parts):
            start, prefix = len(ids), len(part.prefix)
            before = prefix if part.known is None else part.known.length
            ids.extend(part.prefix)
            positions.extend(range(prefix))
            owner.extend([index * _SPAN] * prefix)
            for number, suffix in enumerate(part.suffixes, 1):
                ids.extend(suffix)
                positions.extend(range(before, before + len(suffix)))
                owner.extend([index * _SPAN + number] * len(suffix))
                ends.append(len(ids) - 1)
            lengths = [len(suffix) for suffix in part.suffixes]
            suffixes = Suffixes.of(lengths, device) if lengths else None
            groups.append(Group(part, start, prefix, len(ids), suffixes))
        table = torch.tensor([ids, positions, owner], device=device)
        layout = Layout(tuple(groups), path, table[2], table[1])
        return cls(table[0:1], table[1:2], torch.tensor(ends, device=device, dtype=torch.long), layout)


@lru_cache
def _block_mask_maker(device: str) -> Any:
    """Compiled on a GPU, where the mask would otherwise be written out whole before its blocks are found."""
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask, dynamic=True) if device == "cuda" else create_block_mask


_SPAN = 1 << 32  # owners of user i are i * _SPAN (its prefix) and the numbers above it (its suffixes)
