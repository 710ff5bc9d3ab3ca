"""The greedy decoding loop: prompts are read in passes without much padding, and rows that are done leave the batch.

What `generate` of transformers does for one batch, in less time: the ids that all prompts begin with are read once,
keys and values stay where they are, and the limits of a batch are computed for all of its rows at once.
"""

import inspect
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from trsr.llm.grouped_attention import grouped_attention
from trsr.llm.repetition import Limit
from trsr.llm.row_cache import RowCache

_PASS_TOKENS = 2048  # of a pass over prompts; more are no faster on a CPU
_LEAST_SAVED = 256  # tokens not read again, that make up for the pass over a shared head
_TAKEN = frozenset({"position_ids", "past_key_values", "logits_to_keep"})
_ROPES_BY_LENGTH = frozenset({"dynamic", "longrope"})

Ids = Sequence[int]


def can_decode(model: Any) -> bool:
    """Whether `model` keeps keys and values of every token and nothing else, and is told the places of tokens."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if model._is_stateful or not set(inspect.signature(model.forward).parameters) >= _TAKEN:
        return False
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and not _turns_by_length(model.config)


@torch.inference_mode()
def decode(model: Any, prompts: Sequence[Ids], limit: Limit, max_new_tokens: int, stop: Collection[int]) -> list[Ids]:
    """The ids that `model` writes behind each of `prompts`, with the stop token where it came to one.

    What a row brings is a function of the prompts alone, their order included.
    """
    batch = _Batch(model, prompts, max_new_tokens)
    with grouped_attention(model):
        logits = batch.read()
        while True:
            scores = limit(batch.places, batch.written, logits.float())
            batch.write(scores.argmax(-1), stop)
            if not batch.places:
                return batch.done
            logits = batch.step()


class _Batch:
    """The rows that are being written.

    Row i holds `prompts[places[i]]`. Its columns are the head that all prompts share, padding, the rest of the prompt
    and what was written, so that all rows write to the same column; a token's place in its text is its column less
    the padding.
    """

    def __init__(self, model: Any, prompts: Sequence[Ids], max_new_tokens: int) -> None:
        self._model, self._max_new_tokens = model, max_new_tokens
        self.places = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
        self._prompts = [prompts[place] for place in self.places]
        self._head, self._width = _shared_head(self._prompts, model.config), len(self._prompts[0])
        columns = self._width + max_new_tokens
        device = model.device
        self._padding = torch.tensor([self._width - len(prompt) for prompt in self._prompts], device=device)[:, None]
        place = torch.arange(columns, device=device)
        self._seen = (place < self._head) | (place >= self._head + self._padding)
        self._written = torch.zeros(len(prompts), max_new_tokens, dtype=torch.long, device=device)
        self._count = 0
        self._cache = RowCache(model.config.get_text_config().num_hidden_layers, len(prompts), columns)
        self.done: list[Ids] = [()] * len(prompts)

    @property
    def written(self) -> Tensor:
        """What the rows have written so far (rows, tokens)."""
        return self._written[: len(self.places), : self._count]

    def read(self) -> Tensor:
        """Read the prompts; gives the logits of the first token (rows, vocabulary)."""
        if self._head:
            self._forward([self._prompts[0][: self._head]], slice(0, 1), 0)
            self._cache.spread(self._head)
        logits = []
        for rows in _passes([len(prompt) - self._head for prompt in self._prompts]):
            rests = [prompt[self._head :] for prompt in self._prompts[rows]]
            longest = len(rests[0])
            padded = [[0] * (longest - len(rest)) + list(rest) for rest in rests]
            logits.append(self._forward(padded, rows, self._width - longest))
        return torch.cat(logits)

    def step(self) -> Tensor:
        """Read the last token of every row; gives the logits of the next one (rows, vocabulary)."""
        return self._forward(self.written[:, -1:], slice(0, len(self.places)), self._width + self._count - 1)

    def write(self, tokens: Tensor, stop: Collection[int]) -> None:
        """Add a token (rows,) to every row; rows that end with it leave."""
        self._written[: len(self.places), self._count] = tokens
        self._count += 1
        full = self._count == self._max_new_tokens
        ended = [row for row, token in enumerate(tokens.tolist()) if full or token in stop]
        for row in ended:
            self.done[self.places[row]] = self._written[row, : self._count].tolist()
        if ended:
            self._close_up(ended)

    def _close_up(self, ended: Sequence[int]) -> None:
        """Move the last rows into the places of those that have ended."""
        left = len(self.places) - len(ended)
        targets = [row for row in ended if row < left]
        sources = sorted(set(range(left, len(self.places))) - set(ended))
        for table in (self._padding, self._seen, self._written):
            table[targets] = table[sources]
        self._cache.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self.places[target] = self.places[source]
        del self.places[left:]

    def _forward(self, ids: Any, rows: slice, start: int) -> Tensor:
        """The logits (rows, vocabulary) behind the last of `ids` (rows, tokens), which begin in column `start`."""
        ids = torch.as_tensor(ids, device=self._padding.device)
        end = start + ids.shape[1]
        self._cache.aim(rows, start)
        output = self._model(
            input_ids=ids,
            attention_mask=self._seen[rows, :end],
            position_ids=(torch.arange(start, end, device=ids.device) - self._padding[rows]).clamp(min=0),
            past_key_values=self._cache.transformers,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits


def _shared_head(prompts: Sequence[Ids], config: Any) -> int:
    """How many ids, read once for all, the prompts begin with; each has more than these. 0 where it does not pay."""
    columns = zip(*(prompt[:-1] for prompt in prompts), strict=False)
    head = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    # a window counts columns, and behind a shared head stands padding
    pays = head * (len(prompts) - 1) >= _LEAST_SAVED and not _has_windows(config)
    return head if pays else 0


def _passes(lengths: Sequence[int]) -> Iterator[slice]:
    """Rows that are read together; `lengths` fall, and a pass pads its rows to the first."""
    start = 0
    while start < len(lengths):
        end = min(start + max(_PASS_TOKENS // lengths[start], 1), len(lengths))
        yield slice(start, end)
        start = end


def _has_windows(config: Any) -> bool:
    from transformers import DynamicCache

    return any(DynamicCache(config=config).is_sliding)


def _turns_by_length(config: Any) -> bool:
    """Whether the rotary embedding of a token depends on the longest prompt of its batch."""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [rope] if "rope_type" in rope else [kind for kind in rope.values() if isinstance(kind, dict)]
    return any(kind.get("rope_type") in _ROPES_BY_LENGTH for kind in kinds)
