"""Mixes: models of a run whose scores are added up with weights that were fitted on its validation examples."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import polars as pl

from trsr.baselines.mixing import Floats, fit_weights, standardized
from trsr.data.columns import EXAMPLE, ITEM, LABEL, TEST, VALID
from trsr.data.reading import read_table
from trsr.errors import ConfigError, DataError
from trsr.experiment.run_folder import RunFolder, write_parquet
from trsr.experiment.tasks import Tasks

_SCORE = "score"


def check_mixable(mixes: Mapping[str, Sequence[str]]) -> None:
    """Raise `ConfigError` with the line that installs what a mix lacks."""
    if mixes and find_spec("scipy") is None:
        raise ConfigError("mixes need scipy: pip install 'trsr[baselines]'")


def write_mix(folder: RunFolder, name: str, models: Sequence[str], tasks: Tasks) -> None:
    """Write `mixes/NAME.json`, the weights of the models, and `scores/NAME.parquet`, the sums on the test examples.

    The scores of all `models` on validation and test must be there.
    """
    valid, test = tasks.candidates[VALID], tasks.candidates[TEST]
    weights = fit_weights(_features(folder, models, valid, VALID), valid[LABEL].to_numpy(), _lengths(valid))
    mixed = _features(folder, models, test, TEST) @ weights
    record = {"weights": dict(zip(models, weights.round(4).tolist(), strict=True)), "examples": len(_lengths(valid))}
    folder.write_json(f"mixes/{name}.json", record)
    write_parquet(folder.scores(name), test.select(EXAMPLE, ITEM, pl.Series(_SCORE, mixed.astype(np.float32))))


def _features(folder: RunFolder, models: Sequence[str], candidates: pl.DataFrame, split: str) -> Floats:
    """Standardised scores (rows of `candidates`, models)."""
    columns = []
    for model in models:
        path = folder.scores(model, split)
        scores = read_table(path).select(EXAMPLE, ITEM, _SCORE)
        joined = candidates.select(EXAMPLE, ITEM).join(scores, [EXAMPLE, ITEM], "left", maintain_order="left")
        if joined.height != candidates.height or joined[_SCORE].null_count():
            raise DataError(f"{path}: not the scores of this run's {split} candidates; delete it and run again")
        columns.append(joined[_SCORE].to_numpy().astype(np.float64))
    return standardized(np.column_stack(columns), _lengths(candidates))


def _lengths(candidates: pl.DataFrame) -> list[int]:
    """Candidates of each example; the rows of an example stand together."""
    return candidates.group_by(EXAMPLE, maintain_order=True).len()["len"].to_list()
