"""The tasks of an experiment: its data, examples and candidate sets, made once and saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from trsr.config import ExperimentConfig
from trsr.data.bookshop import make_bookshop
from trsr.data.bookshop.oracle import Truth, read_truth
from trsr.data.candidates import sample_candidates
from trsr.data.columns import CUT, EXAMPLE, ITEM, LABEL, SPLIT, TEST, TRAIN, USER, VALID
from trsr.data.dataset import Dataset
from trsr.data.scoring import RankingRequest
from trsr.data.splits import Examples, make_examples


@dataclass(frozen=True)
class Task:
    """One example to rank or to learn from: the request, its labels and its place in the user's history.

    Labels are 1 for what the user took (one or, of an impression, several) and 0 for what they did not.
    """

    request: RankingRequest
    labels: tuple[int, ...]
    cut: int

    @property
    def targets(self) -> tuple[str, ...]:
        """The candidates with label 1."""
        return tuple(item for item, label in zip(self.request.candidates, self.labels, strict=True) if label)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Data, examples and candidates of one experiment; `truth` where the data is the bookshop's."""

    dataset: Dataset
    examples: Examples
    candidates: Mapping[str, pl.DataFrame]
    truth: Truth | None

    @cached_property
    def catalogue(self) -> dict[str, dict[str, Any]]:
        """Attribute values by item id."""
        return {row[ITEM]: row for row in self.dataset.items.iter_rows(named=True)}

    def of(self, split: str) -> list[Task]:
        """The tasks of a split, in the order of its candidate set."""
        rows = {row[EXAMPLE]: row for row in self.examples.frame.filter(pl.col(SPLIT) == split).iter_rows(named=True)}
        grouped = self.candidates[split].group_by(EXAMPLE, maintain_order=True).agg(ITEM, LABEL)
        return [
            Task(
                RankingRequest(
                    example_id, rows[example_id][USER], tuple(self._history(rows[example_id])), tuple(items)
                ),
                tuple(labels),
                rows[example_id][CUT],
            )
            for example_id, items, labels in grouped.iter_rows()
        ]

    def whole_history(self, task: Task) -> Sequence[str]:
        """All items before the target, also those that `data.max_history` leaves out of the request."""
        return self.dataset.history(task.request.user_id)[: task.cut]

    def _history(self, row: Mapping[str, Any]) -> Sequence[str]:
        return self.examples.history(self.dataset, row)


def make_tasks(config: ExperimentConfig) -> Tasks:
    """Load or make the data, split it and draw candidates; the same for the same settings and data."""
    dataset, truth = _load(config)
    examples = make_examples(dataset, config.split, config.data, config.seed)
    negatives = {TRAIN: config.candidates.train_negatives, VALID: config.candidates.negatives}
    candidates = {
        split: sample_candidates(
            examples.frame.filter(pl.col(SPLIT) == split),
            dataset.interactions,
            dataset.items[ITEM],
            negatives.get(split, config.candidates.negatives),
            config.seed + offset,
        )
        for offset, split in enumerate((TRAIN, VALID, TEST))
    }
    return Tasks(dataset, examples, candidates, truth)


def _load(config: ExperimentConfig) -> tuple[Dataset, Truth | None]:
    if config.data.bookshop is not None:
        shop = make_bookshop(config.data.bookshop)
        dataset = Dataset.from_frames(
            shop.items, shop.interactions, config=config.data, seed=config.seed, name="bookshop"
        )
        return dataset, shop.truth
    folder = config.data.path
    assert folder is not None  # DataConfig has one of the two
    dataset = Dataset.from_folder(folder, config.data, config.seed)
    has_truth = (folder / "item_truth.parquet").exists() and (folder / "reader_truth.parquet").exists()
    return dataset, read_truth(folder) if has_truth else None
