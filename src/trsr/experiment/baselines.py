"""The baselines of an experiment: what they are fitted on, and the record of their choice in the run folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trsr.baselines.fitting import FitData, Validation
from trsr.baselines.registry import FAMILIES, choose
from trsr.config import BaselineName, ExperimentConfig
from trsr.data.columns import VALID
from trsr.data.scoring import Scorer
from trsr.errors import DataError
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Tasks


def fit_data(tasks: Tasks, config: ExperimentConfig) -> FitData:
    """Data of an experiment for its baselines; settings are chosen on its validation candidates."""
    valid = tasks.of(VALID)
    validation = Validation([task.request for task in valid], [task.labels for task in valid])
    return FitData(tasks.dataset, tasks.examples.fit_events, validation, config.prompt.template, config.encoder)


def tuned_baseline(name: BaselineName, data: FitData, folder: RunFolder, seed: int) -> Scorer:
    """Choose the settings of a baseline and write `baselines/NAME.json`; where it is there, only fit what it says."""
    path = folder.choice(name)
    if path.exists():
        return FAMILIES[name].fit(data, _chosen(path, name), seed)
    choice = choose(name, data, seed)
    record = {"chosen": choice.chosen, **choice.tried[choice.chosen], "tried": choice.tried}
    folder.write_json(f"baselines/{name}.json", record)
    return choice.scorer


def _chosen(path: Path, name: BaselineName) -> Any:
    """The recorded setting; its place in the grid may be another one since."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        recorded = None
    for settings in FAMILIES[name].grid:
        if asdict(settings) == recorded:
            return settings
    raise DataError(f"{path}: not the record of a choice that is made today; delete it and run again")
