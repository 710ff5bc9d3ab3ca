"""What every example of an experiment is ranked against, by the protocol that its settings name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from trsr.baselines.bm25 import Bm25Settings, fit_bm25
from trsr.baselines.embedding import EmbeddingSettings, fit_embedding
from trsr.baselines.fitting import FitData, Validation
from trsr.baselines.registry import lacking_packages
from trsr.config import CandidateSource, ExperimentConfig
from trsr.data.candidates import catalogue_candidates, nearest_candidates, sample_candidates
from trsr.data.columns import EXAMPLE, ITEM, SPLIT, TEST, TRAIN, USER, VALID
from trsr.data.dataset import Dataset
from trsr.data.impression_examples import impression_tasks
from trsr.data.scoring import RankingRequest, Scorer, Scores
from trsr.data.splits import Examples, make_examples
from trsr.errors import ConfigError

RETRIEVED_FROM = 10
"""So many of the latest items of a history are the query of a retriever."""


def make_candidates(dataset: Dataset, config: ExperimentConfig) -> tuple[Examples, dict[str, pl.DataFrame]]:
    """The examples of all splits and their candidate sets; the same for the same settings and data."""
    settings = config.candidates
    if settings.source != "impressions":
        examples = make_examples(dataset, config.split, config.data, config.seed)
        draw = _Draw(dataset, examples, config)
        counts = {TRAIN: settings.train_negatives}
        sources = {TRAIN: settings.source_in_training}
        return examples, {
            split: draw(
                examples.frame.filter(pl.col(SPLIT) == split),
                sources.get(split, settings.source),
                counts.get(split, settings.negatives),
                config.seed + offset,
            )
            for offset, split in enumerate((TRAIN, VALID, TEST))
        }
    folder = config.data.path
    assert folder is not None  # ExperimentConfig sees to it
    tasks = impression_tasks(folder, dataset, config.split, config.data, settings, config.seed)
    if tasks.drawn.is_empty():
        return tasks.examples, tasks.shown
    draw = _Draw(dataset, tasks.examples, config)
    drawn = draw(tasks.drawn, settings.source_in_training, settings.train_negatives, config.seed)
    return tasks.examples, tasks.shown | {TRAIN: drawn}


@dataclass(frozen=True)
class _Draw:
    dataset: Dataset
    examples: Examples
    config: ExperimentConfig

    def __call__(self, rows: pl.DataFrame, source: CandidateSource, negatives: int, seed: int) -> pl.DataFrame:
        events, catalogue = self.dataset.interactions, self.dataset.items[ITEM]
        if source == "catalogue":
            return catalogue_candidates(rows, events, catalogue)
        if source == "retrieved":
            return nearest_candidates(rows, events, catalogue, self._scores(rows), negatives, seed)
        popular = self.examples.fit_events[ITEM] if source == "popular" else None
        return sample_candidates(rows, events, catalogue, negatives, seed, popular)

    def _scores(self, rows: pl.DataFrame) -> Iterator[Scores]:
        """How near each item of the catalogue is to the history of every example, in the order of ids."""
        catalogue = tuple(self.dataset.items[ITEM].sort())
        whole = {row[EXAMPLE]: row for row in self.examples.frame.iter_rows(named=True)}
        requests = [
            RankingRequest(name, whole[name][USER], tuple(self.examples.history(self.dataset, whole[name])), catalogue)
            for name in rows[EXAMPLE].sort()
        ]
        return self._retriever.score(requests)

    @cached_property
    def _retriever(self) -> Scorer:
        """Fitted once for all splits."""
        name, seed = self.config.candidates.retriever, self.config.seed
        lacking = lacking_packages(name)
        if lacking:
            raise ConfigError(f"candidates.retriever: {name} needs {lacking}: pip install 'trsr[baselines]'")
        data = FitData(
            self.dataset, self.examples.fit_events, Validation([], []), self.config.prompt.template, self.config.encoder
        )
        if name == "bm25":
            return fit_bm25(data, Bm25Settings(RETRIEVED_FROM, k1=1.2, b=0.75), seed)
        return fit_embedding(data, EmbeddingSettings(RETRIEVED_FROM, decay=1.0, centred=True), seed)
