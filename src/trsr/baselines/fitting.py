"""What a baseline may learn from, and what a family of baselines is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trsr.config import EmbeddingConfig
from trsr.data.columns import ITEM, USER
from trsr.data.dataset import Dataset
from trsr.data.scoring import RankingRequest, Scorer, Scores
from trsr.errors import ModelError
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet

Codes = NDArray[np.int64]
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Item ids and their place in tables of a model; what is not in it has the code -1."""

    items: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Code of every item."""
        return {item: code for code, item in enumerate(self.items)}

    def codes(self, items: Sequence[str]) -> Codes:
        """Codes of some items, -1 for one that is unknown."""
        return np.array([self.index.get(item, -1) for item in items], dtype=np.int64)

    def known(self, items: Sequence[str]) -> Codes:
        """Codes of the known ones of some items, in their order."""
        codes = self.codes(items)
        return codes[codes >= 0]


@dataclass(frozen=True, eq=False)
class Validation:
    """The examples that settings are chosen on: requests, and 0 or 1 for each of their candidates."""

    requests: Sequence[RankingRequest]
    labels: Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class FitData:
    """Data of one experiment as baselines see it.

    `events` are `Examples.fit_events`, sorted by user and order; nothing else of the interactions is looked at.
    `template` renders items as the ranker reads them.
    """

    dataset: Dataset
    events: pl.DataFrame
    validation: Validation
    template: str
    embedding: EmbeddingConfig
    _made: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def fitted(self) -> Vocabulary:
        """Items that have an event to fit on; all others are cold."""
        return Vocabulary(tuple(self.events[ITEM].unique().sort()))

    @cached_property
    def catalogue(self) -> Vocabulary:
        """All items of the dataset."""
        return Vocabulary(tuple(self.dataset.items[ITEM]))

    @cached_property
    def texts(self) -> list[str]:
        """The whole text of every item of the catalogue, as it stands in the ranker's prompt."""
        rows = {row[ITEM]: row for row in self.dataset.items.iter_rows(named=True)}
        texts = ItemTexts(rows, self.dataset.attributes, TemplateSet(self.template), None)
        return [texts.whole(item) for item in self.catalogue.items]

    @cached_property
    def sequences(self) -> list[Codes]:
        """Codes of the fitted events of every user, oldest first; users sorted by id."""
        grouped = self.events.group_by(USER, maintain_order=True).agg(ITEM)
        return [self.fitted.codes(items) for items in grouped[ITEM].to_list()]

    @cached_property
    def users(self) -> dict[str, int]:
        """Place of every fitted user in `sequences`."""
        return {user: row for row, user in enumerate(self.events[USER].unique(maintain_order=True))}

    @cached_property
    def matrix(self) -> Any:
        """Who had what: a scipy CSR matrix (users, fitted items); a repeated event is one entry."""
        return ones_matrix([np.unique(codes) for codes in self.sequences], len(self.fitted.items))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made at the first call with this name: work that all settings of a family share."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made


@dataclass(frozen=True)
class Family(Generic[S]):
    """One kind of baseline: the settings that are tried, how it is fitted, and the packages that it needs."""

    grid: tuple[S, ...]
    fit: Callable[[FitData, S, int], Scorer]
    needs: tuple[str, ...] = ()


@runtime_checkable
class Noted(Protocol):
    """A fitted baseline that has something to tell of its fit, such as the epochs that it took."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """Plain values for the record of the choice."""
        ...


def ones_matrix(rows: Sequence[Codes], columns: int) -> Any:
    """A scipy CSR matrix, fp32, with a one at each of the distinct codes of every row."""
    from scipy.sparse import csr_matrix

    places = np.repeat(np.arange(len(rows)), [len(codes) for codes in rows])
    ones = np.ones(len(places), np.float32)
    return csr_matrix((ones, (places, np.concatenate(rows))), shape=(len(rows), columns))


def mark_unknown(codes: Codes, values: NDArray[Any]) -> Scores:
    """Scores of candidates, of which the unknown (code -1, whatever their value) tie clearly below the lowest known.

    Raises `ModelError` where the value of a known one is not finite.
    """
    is_known = codes >= 0
    scores = np.where(is_known, values, 0).astype(np.float32)
    if not np.isfinite(scores).all():
        raise ModelError("a score is not finite; the fit went wrong")
    if is_known.any():
        lowest = scores[is_known].min()
        scores[~is_known] = lowest - max(1.0, abs(lowest))
    return scores
