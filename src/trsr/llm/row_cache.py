"""Keys and values of the rows of a batch, in place: a step copies nothing, and a row that is done makes room."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class RowCache:
    """Room for `rows` rows of `columns` tokens in every layer of a model; `transformers` is what a model takes.

    A pass over the model writes where `aim` says and sees what the same rows hold before that.
    """

    def __init__(self, layers: int, rows: int, columns: int) -> None:
        from transformers import Cache
        from transformers.cache_utils import CacheLayerMixin

        CacheLayerMixin.register(_Layer)
        self._layers = [_Layer(rows, columns) for _ in range(layers)]
        self.transformers: Any = Cache(layers=self._layers)

    def aim(self, rows: slice, start: int) -> None:
        """Let the next pass write to `rows`, from column `start` on."""
        for layer in self._layers:
            layer.rows, layer.start = rows, start

    def spread(self, columns: int) -> None:
        """Give every row the first `columns` columns of row 0."""
        for layer in self._layers:
            for kept in layer.kept():
                kept[1:, :, :columns] = kept[:1, :, :columns]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Put rows `sources` in the place of rows `targets`."""
        for layer in self._layers:
            for kept in layer.kept():
                kept[targets] = kept[sources]


class _Layer:
    """One layer, as a layer of a cache in transformers; it is made when the shape of its heads is seen."""

    is_sliding = False  # where the model has a window, its mask holds the older columns back
    is_compileable = False

    def __init__(self, rows: int, columns: int) -> None:
        self._room = (rows, columns)
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.rows, self.start = slice(0, 0), 0

    @property
    def is_initialized(self) -> bool:
        return self.keys is not None

    def kept(self) -> list[Tensor]:
        """Keys and values (rows, heads, columns, size), none before the first pass."""
        return [tensor for tensor in (self.keys, self.values) if tensor is not None]

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the keys and values of a pass; gives those and all before them."""
        if self.keys is None or self.values is None:
            self.keys, self.values = self._make(keys), self._make(values)
        end = self.start + keys.shape[2]
        self.keys[self.rows, :, self.start : end] = keys
        self.values[self.rows, :, self.start : end] = values
        return self.keys[self.rows, :, :end], self.values[self.rows, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns a pass of `query_length` sees, and the first of them."""
        return self.start + query_length, 0

    def get_seq_length(self) -> int:
        """The column that the next pass begins with."""
        return self.start

    def get_max_length(self) -> int:
        """How many columns there are."""
        return self._room[1]

    def _make(self, like: Tensor) -> Tensor:
        rows, columns = self._room
        # zeros, as a masked column is still multiplied by a weight of 0
        return like.new_zeros(rows, like.shape[1], columns, like.shape[3])
