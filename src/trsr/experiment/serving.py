"""Ranking with a tuned model folder: items for one user, or a whole candidates file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trsr.config import DataConfig, RankerConfig
from trsr.data.candidates import read_candidates
from trsr.data.columns import CUT, EXAMPLE, ITEM, LABEL, USER
from trsr.data.dataset import Dataset
from trsr.data.reading import read_table
from trsr.data.scoring import RankingRequest
from trsr.errors import ConfigError, DataError
from trsr.experiment.run_folder import write_parquet
from trsr.experiment.scoring import score_requests
from trsr.progress import stage
from trsr.ranking.ranker import Ranker, RankerScorer
from trsr.ranking.served import Protocol

_CACHE_MB = 256


@dataclass(frozen=True)
class RankerPlace:
    """Where a ranker is: its model folder, and the server that holds the model, if one does."""

    folder: Path
    server: str | None = None
    server_model: str | None = None
    protocol: Protocol = "auto"
    api_key_env: str | None = None

    def open(self, prefix_cache_mb: int = 0) -> Ranker:
        """The ranker, ready to score; `prefix_cache_mb` is for users who are asked for again, with local weights."""
        if self.server is None:
            if self.server_model or self.api_key_env:
                raise ConfigError("rank: --server-model and --api-key-env go with --server; give its address")
            return Ranker.from_pretrained(self.folder, settings=RankerConfig(prefix_cache_mb=prefix_cache_mb))
        if self.server_model is None:
            raise ConfigError("rank: --server needs --server-model, the name that it serves the model under")
        return Ranker.from_server(self.folder, self.server, self.server_model, self.protocol, self.api_key_env)


def rank_user(
    model: RankerPlace,
    folder: Path,
    user: str | None,
    items: Sequence[str],
    *,
    summaries: Path | None,
) -> list[dict[str, Any]]:
    """Candidates of one user, best first: item_id, log_odds, probability and text.

    Without `items`, all items that the user has not had are candidates. Raises `ConfigError`, `DataError`.
    """
    if user is None:
        raise ConfigError("rank: give --user, or --candidates with --out")
    ranker = model.open()
    dataset, catalogue = _load(ranker, folder)
    history = dataset.history(user)
    unknown = [item for item in items if item not in catalogue]
    if unknown:
        raise DataError(f"{folder}: no item {unknown[0]!r} in items; name items as in its item_id column")
    known = set(history)
    chosen = tuple(items) or tuple(item for item in catalogue if item not in known)
    if not chosen:
        raise DataError(f"{folder}: user {user!r} has had every item there is; name candidates with --item")
    summary = _summaries(ranker, summaries, [user])
    prompts = ranker.prompts(catalogue)
    request = RankingRequest(user, user, tuple(history), chosen)
    with stage("ranking", len(chosen)) as progress:
        ranker.scoring.on_pass = lambda report: progress.update(report.candidates, report.throughput)
        scores = next(RankerScorer(ranker, prompts, summary).score([request]))
    order = np.argsort(-scores, kind="stable")
    return [
        {
            "item_id": chosen[place],
            "log_odds": float(scores[place]),
            "probability": float(1 / (1 + np.exp(-float(scores[place])))),
            "text": prompts.items.whole(chosen[place])[:100],
        }
        for place in order
    ]


def score_file(
    model: RankerPlace,
    folder: Path,
    candidates: Path,
    *,
    examples: Path | None,
    summaries: Path | None,
    out: Path | None,
) -> dict[str, Any]:
    """Score every row of a candidates file into `out`.

    `examples` (example_id, cut) says how many events of its user came before each example; without it, the whole
    history counts and no target may be in it. Raises `ConfigError`, `DataError`.
    """
    if out is None:
        raise ConfigError("rank: --candidates needs --out, the place of scores.parquet")
    ranker = model.open(_CACHE_MB)
    dataset, catalogue = _load(ranker, folder)
    grouped = read_candidates(candidates).group_by(EXAMPLE, maintain_order=True).agg(pl.col(USER).first(), ITEM, LABEL)
    cuts = None if examples is None else _cuts(examples)
    requests = []
    for example_id, user, items, labels in grouped.iter_rows():
        place = f"{candidates}: example {example_id!r}"
        _refuse_unknown(place, dataset, user, items, catalogue)
        history, targets = dataset.history(user), [item for item, label in zip(items, labels, strict=True) if label]
        cut = len(history) if cuts is None else _cut(place, cuts, example_id, history, targets)
        leaked = next((target for target in targets if cuts is None and target in history), None)
        if leaked is not None:
            raise DataError(
                f"{place}: the target {leaked!r} is in its user's history; give --examples with the cut of each example"
            )
        requests.append(RankingRequest(example_id, user, tuple(history[:cut]), tuple(items)))
    summary = _summaries(ranker, summaries, [request.example_id for request in requests])
    with stage("scoring", len(requests)) as progress:
        scorer = RankerScorer(ranker, ranker.prompts(catalogue), summary)
        frame = score_requests(scorer, requests, progress, lambda: ranker.scoring.report.throughput)
    write_parquet(out, frame)
    return {"examples": len(requests), "out": str(out), "scoring": ranker.scoring.report.as_dict()}


def _refuse_unknown(
    place: str, dataset: Dataset, user: str, items: Sequence[str], catalogue: Mapping[str, Mapping[str, Any]]
) -> None:
    if user not in dataset.histories():
        raise DataError(f"{place} names user {user!r}, who has no events; give the data it was made of")
    unknown = next((item for item in items if item not in catalogue), None)
    if unknown is not None:
        raise DataError(f"{place} names item {unknown!r}, which is not in items; give the data it was made of")


def _cut(place: str, cuts: Mapping[str, int], example_id: str, history: Sequence[str], targets: Sequence[str]) -> int:
    if example_id not in cuts:
        raise DataError(f"{place} has no row in --examples; give the table of the run that made the candidates")
    cut = cuts[example_id]
    if cut >= len(history) or history[cut] not in targets:
        raise DataError(
            f"{place}: event {cut} of its user is not the target {targets[0]!r}; give the very events of the run that "
            "the ranker was tuned in"
        )
    return cut


def _cuts(path: Path) -> dict[str, int]:
    table = read_table(path)
    missing = [name for name in (EXAMPLE, CUT) if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; give examples.parquet of the run that made the candidates")
    return dict(table.select(EXAMPLE, CUT).iter_rows())


def _load(ranker: Ranker, folder: Path) -> tuple[Dataset, dict[str, dict[str, Any]]]:
    config = DataConfig(path=folder, attributes=list(ranker.attributes), min_rating=ranker.min_rating)
    dataset = Dataset.from_folder(folder, config, ranker.seed)
    return dataset, {row[ITEM]: row for row in dataset.items.iter_rows(named=True)}


def _summaries(ranker: Ranker, path: Path | None, needed: Sequence[str]) -> Mapping[str, str]:
    """Summaries by example id for a ranker that was tuned with some; all that are needed must be there."""
    if ranker.summary_method == "none":
        return {}
    if path is None:
        raise ConfigError(
            f"rank: this ranker was tuned with {ranker.summary_method} summaries; make them with `trsr summarize` and "
            "give --summaries"
        )
    table = read_table(path)
    missing_columns = {EXAMPLE, "method", "summary"} - set(table.columns)
    if missing_columns:
        raise DataError(f"{path}: no column {sorted(missing_columns)[0]}; give the table of `trsr summarize`")
    of_method = table.filter(pl.col("method") == ranker.summary_method)
    found = dict(of_method.select(EXAMPLE, "summary").iter_rows())
    missing = [example for example in needed if example not in found]
    if missing:
        raise DataError(f"{path}: no {ranker.summary_method} summary of {missing[0]!r}; run `trsr summarize` again")
    return found
