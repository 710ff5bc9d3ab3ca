"""The files of a run folder as the report needs them: read, validated, never trusted."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import polars as pl
from pydantic import BaseModel, TypeAdapter, ValidationError

from trsr.config import DataConfig, ExperimentConfig, flat_settings, read_yaml
from trsr.data.reading import ScannedTable, read_table
from trsr.errors import DataError
from trsr.evaluation.comparisons import ORACLE, Comparison
from trsr.evaluation.evaluate import CHANCE, Metrics
from trsr.evaluation.intervals import Interval

T = TypeVar("T")

FEWEST_TRIED = 3
"""Of two values that were tried, each is at an edge."""

Intervals = dict[str, dict[str, Interval]]


class Step(BaseModel):
    """Training loss after one optimiser step."""

    step: int
    loss: float


class Checkpoint(BaseModel):
    """Validation at one step; step 0 is the untuned model."""

    step: int
    valid_loss: float | None = None
    valid_recall: float | None = None


class TrainingLog(BaseModel):
    """`training/MODEL.json`."""

    steps: list[Step] = []
    evaluations: list[Checkpoint] = []
    best_step: int | None = None


class RankedItem(BaseModel):
    """One candidate of a story, in the order the model ranked it."""

    item_id: str
    text: str
    probability: float
    label: int


class Story(BaseModel):
    """One entry of `stories.json`: a reader's blocks, the summary after each step, and the ranked candidates.

    `kind` says why this reader: drawn by the seed, or where `model` was furthest ahead of or behind `against`. The
    ranks are those of the target, 1 for the first place and halves for ties.
    """

    user_id: str
    target: str
    model: str
    method: str
    kind: Literal["drawn", "win", "loss"] = "drawn"
    against: str = ""
    rank: float | None = None
    rank_against: float | None = None
    blocks: list[list[str]] = []
    steps: list[str] = []
    summary: str = ""
    recent: list[str] = []
    ranked: list[RankedItem] = []


class Check(BaseModel):
    """One entry of `checks.json`."""

    check: str
    result: str
    detail: str = ""


class Segment(BaseModel):
    """One entry of `segments.json`: the results on a part of the test examples; `low` puts the parts in order."""

    group: str
    bucket: str
    low: int = 0
    examples: int
    metrics: Intervals


class Attempt(BaseModel):
    """One setting of a baseline that was tried."""

    settings: dict[str, Any] = {}
    seconds: float = 0.0


class Choice(BaseModel):
    """`baselines/NAME.json`: the settings that tuning on validation chose, and all that it tried."""

    settings: dict[str, Any] = {}
    valid_recall: float | None = None
    tried: list[Attempt] = []

    @property
    def at_edge(self) -> list[str]:
        """The settings whose chosen value is the least or the greatest of three and more numbers that were tried."""
        found = []
        for name, value in self.settings.items():
            tried = {one.settings.get(name) for one in self.tried}
            numbers = [one for one in tried if isinstance(one, int | float)]
            if len(numbers) == len(tried) >= FEWEST_TRIED and value in (min(numbers), max(numbers)):
                found.append(name)
        return found


@dataclass(frozen=True)
class RunFiles:
    """Everything of one run folder that the report shows.

    `settings` are those of config.yaml by dotted key, with the defaults of today where it does not name one.
    `candidates` is equal for runs of one process that rank the same candidates, null where the file is not there.
    """

    path: Path
    name: str
    config: str
    settings: dict[str, Any]
    manifest: dict[str, Any]
    metrics: Metrics
    training: dict[str, TrainingLog] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    stories: list[Story] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    segments: dict[str, Segment] = field(default_factory=dict)
    summary_calls: dict[str, int] = field(default_factory=dict)
    candidates: int | None = None
    per_user: pl.DataFrame | None = None

    def part(self, *keys: str) -> dict[str, Any]:
        """The mapping at a path of keys of the manifest, empty where there is none."""
        found: Any = self.manifest
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def numbers(self, *keys: str) -> dict[str, float]:
        """The numbers in the mapping at a path of keys of the manifest."""
        return {
            name: value
            for name, value in self.part(*keys).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }

    def model_key(self, model: str) -> str | None:
        """A hash of all that a model was made from, equal for one model in two runs of a grid; None if unknown.

        Of a mix, those of the models in it; of chance and the oracle, that of the candidates.
        """
        if model in (CHANCE, ORACLE):
            return None if self.candidates is None else str(self.candidates)
        parts = self.settings.get(f"mixes.{model}") or [model]
        found = [self.part("inputs").get(part) for part in parts]
        keys = [key for key in found if isinstance(key, str) and key]
        return " ".join(keys) if len(keys) == len(parts) else None


def read_run(run: Path) -> RunFiles:
    """Read a run folder; manifest.json and metrics.json must be there, the rest may be absent.

    Raises `DataError` or `ConfigError` naming the file and what is wrong with it.
    """
    if (run / "config.yaml").exists() and not (run / "metrics.json").exists():
        raise DataError(f"{run}: not finished, it has no metrics.json yet; continue it with `trsr run`")
    intervals = _load(run / "metrics.json", TypeAdapter(Intervals))
    if not any(intervals.values()):
        raise DataError(f"{run / 'metrics.json'}: no metrics in it; evaluate the run again")
    config = run / "config.yaml"
    return RunFiles(
        path=run,
        name=run.resolve().name,
        config=_read(config).decode(errors="replace") if config.exists() else "",
        settings=_settings(config) if config.exists() else {},
        manifest=_load(run / "manifest.json", TypeAdapter(dict[str, Any])),
        metrics=_plain(intervals),
        training=_load_folder(run / "training", TypeAdapter(TrainingLog)),
        choices=_load_folder(run / "baselines", TypeAdapter(Choice)),
        stories=_load_if_there(run / "stories.json", TypeAdapter(list[Story])) or [],
        checks=_load_if_there(run / "checks.json", TypeAdapter(list[Check])) or [],
        comparisons=_load_if_there(run / "comparisons.json", TypeAdapter(list[Comparison])) or [],
        segments=_load_if_there(run / "segments.json", TypeAdapter(dict[str, Segment])) or {},
        summary_calls=_summary_calls(run / "summaries.parquet"),
        candidates=_candidates(run / "candidates.parquet"),
        per_user=_per_user(run / "per_user.parquet"),
    )


def _plain(intervals: Intervals) -> Metrics:
    return {model: {name: asdict(one) for name, one in values.items()} for model, values in intervals.items()}


def load_json(path: Path, kind: TypeAdapter[T], remedy: str) -> T:
    """A JSON file of known form; `DataError` with the file, the field, what is wrong and the remedy otherwise."""
    try:
        return kind.validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f"{place}: " if place else ""
        raise DataError(f"{path}: {where}{first['msg']}; {remedy}") from None


def _settings(path: Path) -> dict[str, Any]:
    """What the file says over the defaults of today, by dotted key; another version may have had other settings."""
    values = read_yaml(path)
    given = flat_settings(values) if isinstance(values, dict) else {}
    defaults = ExperimentConfig(name="defaults", data=DataConfig(path=path)).model_dump(mode="json")
    sections = {key[:place] for key in given for place, letter in enumerate(key) if letter == "."}
    kept = {key: value for key, value in flat_settings(defaults).items() if key not in sections | {"name", "data.path"}}
    return kept | given


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path}: {reason}; a report needs a folder made by `trsr run`") from None


def _load(path: Path, kind: TypeAdapter[T]) -> T:
    return load_json(path, kind, "write this file again with `trsr run`")


def _load_if_there(path: Path, kind: TypeAdapter[T]) -> T | None:
    return _load(path, kind) if path.exists() else None


def _load_folder(folder: Path, kind: TypeAdapter[T]) -> dict[str, T]:
    return {path.stem: _load(path, kind) for path in sorted(folder.glob("*.json"))}


def _summary_calls(path: Path) -> dict[str, int]:
    """Calls to the LLM by summary method."""
    if not path.exists():
        return {}
    frame = _with_columns(path, "method", "calls")
    return {
        str(method): int(calls) for method, calls in frame.group_by("method").agg(pl.col("calls").sum()).iter_rows()
    }


def _candidates(path: Path) -> int | None:
    if not path.exists():
        return None
    table = ScannedTable.open(path)
    with table.reading():
        names = table.scan().collect_schema().names()
        _check_columns(path, names, "example_id", "item_id", "label")
        digest = table.scan().select(pl.struct("example_id", "item_id", "label").hash().sum()).collect()
    return int(digest.item())


def _with_columns(path: Path, *names: str) -> pl.DataFrame:
    frame = read_table(path)
    _check_columns(path, frame.columns, *names)
    return frame.select(names)


def _check_columns(path: Path, there: Collection[str], *names: str) -> None:
    absent = [name for name in names if name not in there]
    if absent:
        raise DataError(f"{path}: no column {absent[0]}; write this file again with `trsr run`")


def _per_user(path: Path) -> pl.DataFrame | None:
    if not path.exists():
        return None
    frame = read_table(path)
    _check_columns(path, frame.columns, "model", "user_id")
    values = frame.drop("model", "user_id")
    for name, kind in values.schema.items():
        if not kind.is_numeric():
            raise DataError(f"{path}: column {name} is {kind}, not numbers; write this file again with `trsr run`")
    return frame.with_columns(pl.col("user_id").cast(pl.String))
