"""The run folder: where one experiment keeps what it made, and how it knows what is done."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trsr.config import RECORD, ExperimentConfig, dump_yaml, flat_settings, load_experiment, with_data_path
from trsr.data.columns import TEST
from trsr.data.reading import read_table
from trsr.errors import ConfigError, DataError
from trsr.files import whole_file, write_text


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run; every file appears whole or not at all."""

    path: Path

    @classmethod
    def open(cls, path: Path, config: ExperimentConfig) -> "RunFolder":
        """Make the folder, or take up the run of the same settings that is there.

        Raises `ConfigError` when the folder holds a run of other settings or a grid, or cannot be written.
        """
        folder, config = cls(path), with_data_path(config, Path.cwd())
        if (path / RECORD).exists():
            raise ConfigError(f"{path}: holds a grid, not a run; give another --out")
        if folder.config.exists():
            changed = _first_difference(load_experiment(folder.config), config)
            if changed:
                raise ConfigError(f"{path}: holds a run of other settings ({changed}); give another --out or delete it")
        else:
            write_text(folder.config, dump_yaml(config))
        return folder

    def refuse_change(self, what: str, fingerprint: str) -> None:
        """Raise `DataError` when the run here was made from another `what` ("data", "templates", "weights")."""
        there = self.read_manifest().get("fingerprints", {}).get(what, fingerprint)
        if there != fingerprint:
            raise DataError(
                f"{self.path}: this run was made from other {what} than there are now (fingerprint {there[:12]}… then, "
                f"{fingerprint[:12]}… now); give another --out"
            )

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def candidates(self) -> Path:
        """The saved test candidates that every model ranks."""
        return self.path / "candidates.parquet"

    def scores(self, model: str, split: str = TEST) -> Path:
        """Scores of one model on the test examples, or on the validation examples, which a mix is fitted on."""
        return self.path / ("scores" if split == TEST else f"{split}_scores") / f"{model}.parquet"

    def score_parts(self, model: str, split: str = TEST) -> Path:
        """Parts of the scores of one model, until they are whole."""
        return self.scores(model, split).with_suffix(".parts")

    def controls(self, model: str) -> Path:
        """Where the controls of one model are kept (`trsr.experiment.checks.controls`)."""
        return self.path / "controls" / model

    def control(self, model: str, kind: str) -> Path:
        """Scores of one model in one of its controls."""
        return self.controls(model) / f"{kind}.parquet"

    def choice(self, baseline: str) -> Path:
        """The settings of one baseline: the chosen ones and every one tried."""
        return self.path / "baselines" / f"{baseline}.json"

    def adapter(self, model: str) -> Path:
        """The model folder of one tuned model."""
        return self.path / "adapter" / model

    def training_log(self, model: str) -> Path:
        """Loss and validation of one tuned model."""
        return self.path / "training" / f"{model}.json"

    def checkpoints(self, model: str) -> Path:
        """Where the training of one model keeps its state until it is done."""
        return self.path / "checkpoints" / model

    def read_manifest(self) -> dict[str, Any]:
        """The manifest so far; empty before the first stage."""
        path = self.path / "manifest.json"
        return _read_json(path) if path.exists() else {}

    def read_metrics(self) -> dict[str, Any]:
        """`{model: {metric: {mean, low, high}}}` of an evaluated run."""
        return _read_json(self.path / "metrics.json")

    def update_manifest(self, **entries: Any) -> None:
        """Merge entries into `manifest.json`; a mapping is merged into the mapping that is there."""
        manifest = self.read_manifest()
        for name, value in entries.items():
            kept = manifest.get(name)
            manifest[name] = kept | value if isinstance(kept, dict) and isinstance(value, dict) else value
        self.write_json("manifest.json", manifest)

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file."""
        write_text(self.path / name, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")

    def keep_table(self, name: str, frame: pl.DataFrame) -> None:
        """Write one Parquet file, or see that it is there already; `DataError` where another one is."""
        path = self.path / name
        if not path.exists():
            self.write_table(name, frame)
        elif not read_table(path).equals(frame):
            raise DataError(f"{path}: this run was made from other {path.stem} than there are now; give another --out")

    def write_table(self, name: str, frame: pl.DataFrame) -> None:
        """Write one Parquet file."""
        write_parquet(self.path / name, frame)


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file, whole or not at all."""
    with whole_file(path) as work:
        frame.write_parquet(work)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable ({error}); delete the run folder and run again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object; delete the run folder and run again")
    return content


def _first_difference(there: ExperimentConfig, wanted: ExperimentConfig) -> str:
    old, new = flat_settings(there.model_dump(mode="json")), flat_settings(wanted.model_dump(mode="json"))
    return next(
        (f"{key}: {old.get(key)} there, {new.get(key)} asked" for key in new | old if old.get(key) != new.get(key)), ""
    )
