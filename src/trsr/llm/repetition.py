"""Limits on what a model repeats of its own words, for all rows of a batch at once.

They are the repetition penalty (CTRL, Keskar et al. 2019) and the forbidden n-grams of transformers, but see only what
was written: words of the prompt, old notes above all, stay free to use.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trsr.llm.protocol import Decoding

# given which rows of the batch these are, the tokens they wrote (rows, tokens) and the scores of the next one (rows,
# vocabulary), gives the scores to choose by; it may change those that it was given
Limit = Callable[[Sequence[int], Tensor, Tensor], Tensor]


def limit_repetition(decoding: Decoding) -> Limit:
    """The limits of `decoding` against repetition."""

    def limit(_: Sequence[int], written: Tensor, scores: Tensor) -> Tensor:
        if decoding.repetition_penalty > 1:
            _punish(written, scores, decoding.repetition_penalty)
        if decoding.no_repeat_ngram:
            _forbid_runs(written, scores, decoding.no_repeat_ngram)
        return scores

    return limit


def limit_each(limits: Sequence[tuple[Sequence[int], Limit]]) -> Limit:
    """One limit of several: each is for the rows of the batch that stand before it, and counts these from 0."""
    if len(limits) == 1:
        return limits[0][1]
    which = {row: (kind, place) for kind, (rows, _) in enumerate(limits) for place, row in enumerate(rows)}

    def limit(rows: Sequence[int], written: Tensor, scores: Tensor) -> Tensor:
        for kind, (_, own) in enumerate(limits):
            here = [at for at, row in enumerate(rows) if which[row][0] == kind]
            if here:
                scores[here] = own([which[rows[at]][1] for at in here], written[here], scores[here])
        return scores

    return limit


def _punish(written: Tensor, scores: Tensor, penalty: float) -> None:
    seen = scores.gather(1, written)
    scores.scatter_(1, written, torch.where(seen < 0, seen * penalty, seen / penalty))


def _forbid_runs(written: Tensor, scores: Tensor, size: int) -> None:
    """Forbid every token that would end a run of `size` tokens for the second time."""
    length = written.shape[1]
    if length < size:
        return
    runs = written.unfold(1, size, 1)
    begun = (runs[..., :-1] == written[:, None, length - size + 1 :]).all(-1)
    row, place = begun.nonzero(as_tuple=True)
    scores[row, runs[row, place, -1]] = -torch.inf
