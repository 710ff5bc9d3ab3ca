"""The files of a run folder as the report needs them: read, validated, never trusted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from trsr.data.reading import read_table
from trsr.errors import DataError
from trsr.evaluation.comparisons import Comparison
from trsr.evaluation.evaluate import Metrics
from trsr.evaluation.intervals import Interval

T = TypeVar("T")


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
    """One entry of `stories.json`: a reader's blocks, the summary after each step, and the ranked candidates."""

    user_id: str
    target: str
    model: str
    method: str
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


@dataclass(frozen=True)
class RunFiles:
    """Everything of one run folder that the report shows."""

    name: str
    config: str
    manifest: dict[str, Any]
    metrics: Metrics
    training: dict[str, TrainingLog] = field(default_factory=dict)
    stories: list[Story] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    summaries: str = ""


def read_run(run: Path) -> RunFiles:
    """Read a run folder; config.yaml, manifest.json and metrics.json must be there, the rest may be absent.

    Raises `DataError` naming the file and what is wrong with it.
    """
    intervals = _load(run / "metrics.json", TypeAdapter(dict[str, dict[str, Interval]]))
    if not any(intervals.values()):
        raise DataError(f"{run / 'metrics.json'}: no metrics in it; evaluate the run again")
    return RunFiles(
        name=run.resolve().name,
        config=_read(run / "config.yaml").decode(errors="replace"),
        manifest=_load(run / "manifest.json", TypeAdapter(dict[str, Any])),
        metrics={
            model: {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in values.items()}
            for model, values in intervals.items()
        },
        training={
            path.stem: _load(path, TypeAdapter(TrainingLog)) for path in sorted((run / "training").glob("*.json"))
        },
        stories=_load_if_there(run / "stories.json", TypeAdapter(list[Story])),
        checks=_load_if_there(run / "checks.json", TypeAdapter(list[Check])),
        comparisons=_load_if_there(run / "comparisons.json", TypeAdapter(list[Comparison])),
        summaries=_describe_table(run / "summaries.parquet"),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path}: {reason}; a report needs a folder made by `trsr run`") from None


def _load(path: Path, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f"{place}: " if place else ""
        raise DataError(f"{path}: {where}{first['msg']}; write this file again with `trsr run`") from None


def _load_if_there(path: Path, kind: TypeAdapter[list[T]]) -> list[T]:
    return _load(path, kind) if path.exists() else []


def _describe_table(path: Path) -> str:
    """Size and columns of a Parquet file in one line, empty where there is none."""
    if not path.exists():
        return ""
    frame = read_table(path)
    return f"{len(frame):,} rows; columns {', '.join(frame.columns)}"
