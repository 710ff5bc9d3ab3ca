"""Ranking with a tuned model folder: items for one user, or a whole candidates file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trsr.config import DataConfig
from trsr.data.candidates import read_candidates
from trsr.data.columns import CUT, EXAMPLE, ITEM, LABEL, USER
from trsr.data.dataset import Dataset
from trsr.data.reading import read_table
from trsr.data.scoring import RankingRequest
from trsr.errors import ConfigError, DataError
from trsr.experiment.run_folder import write_parquet
from trsr.progress import stage
from trsr.ranking.ranker import Ranker, RankerScorer

_SEED = 7


def rank_user(
    model: Path, folder: Path, user: str | None, items: Sequence[str], summaries: Path | None
) -> list[dict[str, Any]]:
    """Candidates of one user, best first: item_id, log_odds, probability and text.

    Without `items`, all items that the user has not had are candidates. Raises `ConfigError`, `DataError`.
    """
    if user is None:
        raise ConfigError("rank: give --user, or --candidates with --out")
    ranker = Ranker.from_pretrained(model)
    dataset, catalogue = _load(ranker, folder)
    history = dataset.history(user) if user in dataset.histories() else None
    if history is None:
        raise DataError(f"{folder}: no user {user!r} in interactions; users are named as in its user_id column")
    unknown = [item for item in items if item not in catalogue]
    if unknown:
        raise DataError(f"{folder}: no item {unknown[0]!r} in items; name items as in its item_id column")
    chosen = tuple(items) or tuple(item for item in catalogue if item not in set(history))
    summary = _summaries(ranker, summaries, [user])
    prompts = ranker.prompts(catalogue)
    request = RankingRequest(user, user, tuple(history), chosen)
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
    model: Path, folder: Path, candidates: Path, examples: Path | None, summaries: Path | None, out: Path | None
) -> dict[str, Any]:
    """Score every row of a candidates file into `out`.

    `examples` (example_id, cut) says how many events of its user came before each example; without it, the whole
    history counts and no target may be in it. Raises `ConfigError`, `DataError`.
    """
    if out is None:
        raise ConfigError("rank: --candidates needs --out, the place of scores.parquet")
    ranker = Ranker.from_pretrained(model)
    dataset, catalogue = _load(ranker, folder)
    frame = read_candidates(candidates)
    cuts = {} if examples is None else _cuts(examples)
    grouped = frame.group_by(EXAMPLE, maintain_order=True).agg(pl.col(USER).first(), ITEM, LABEL)
    requests = []
    for example_id, user, items, labels in grouped.iter_rows():
        place = f"{candidates}: example {example_id!r}"
        if user not in dataset.histories():
            raise DataError(f"{place} names user {user!r}, who has no events in {folder}; give the data it was made of")
        unknown = next((item for item in items if item not in catalogue), None)
        if unknown is not None:
            raise DataError(f"{place} names item {unknown!r}, which is not in {folder}; give the data it was made of")
        if examples is not None and example_id not in cuts:
            raise DataError(
                f"{examples}: no row for example {example_id!r} of {candidates}; give the table of that run"
            )
        history, target = dataset.history(user), items[labels.index(1)]
        if examples is None and target in history:
            raise DataError(
                f"{place}: the target {target!r} is in its user's history; give --examples with the cut of each example"
            )
        cut = cuts.get(example_id, len(history))
        if examples is not None and history[cut : cut + 1] != [target]:
            raise DataError(
                f"{examples}: event {cut} of user {user!r} in {folder} is not the target {target!r} of example "
                f"{example_id!r}; give a folder with the very events of that run (a min_rating or another seed for "
                "tied times makes others)"
            )
        requests.append(RankingRequest(example_id, user, tuple(history[:cut]), tuple(items)))
    scorer = RankerScorer(
        ranker, ranker.prompts(catalogue), _summaries(ranker, summaries, [request.example_id for request in requests])
    )
    parts = []
    with stage("scoring", len(requests)) as progress:
        for request, scores in zip(requests, scorer.score(requests), strict=True):
            parts.append(pl.DataFrame({EXAMPLE: request.example_id, ITEM: list(request.candidates), "score": scores}))
            progress.advance()
    write_parquet(out, pl.concat(parts))
    return {"examples": len(requests), "out": str(out)}


def _cuts(path: Path) -> dict[str, int]:
    table = read_table(path)
    missing = [name for name in (EXAMPLE, CUT) if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; give examples.parquet of the run that made the candidates")
    return dict(table.select(EXAMPLE, CUT).iter_rows())


def _load(ranker: Ranker, folder: Path) -> tuple[Dataset, dict[str, dict[str, Any]]]:
    dataset = Dataset.from_folder(folder, DataConfig(path=folder, attributes=list(ranker.attributes)), _SEED)
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
