"""How long an import takes beside a plain read, and the first steps behind it, on look-alikes of public data sets.

| step | rows | what is done |
|---|---|---|
| import | rows of the source | what `trsr data import` does; `plain_seconds` are those of `plain_reading` |
| open | events | `DatasetFolder.open` on what was imported, and the history of one user with the texts of its items |
| read | events | `Dataset.from_folder`: everything read, checked, cleaned and put in order |
| sample | examples | candidates for the last event of users: the target and 20 negatives |
| render | items | texts of items with all attributes, and their tokens |
| render-english | items | the same of those in English, where there are others |

A plain read writes Parquet as Polars does where nobody says otherwise; how long it takes with the codec of an import is
told beside it. The best of some rounds counts for each, ours and the plain ways. Import and plain read, which take
turns, open and read have a new process in every round; sample and render have one, in which getting ready is not timed.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from trsr.benchmarks.lookalikes.folders import ORIGINALS, lookalike_in
from trsr.benchmarks.plain_reading import DEFAULT, PLAIN_WAYS, Compression, PlainWay, TextTable
from trsr.benchmarks.processes import in_own_process
from trsr.config import DataConfig
from trsr.data.candidates import sample_candidates
from trsr.data.columns import CUT, EXAMPLE, ITEM, ORDER, USER
from trsr.data.dataset import Dataset
from trsr.data.folder import COMPRESSION, DatasetFolder
from trsr.data.reading import dataset_files
from trsr.errors import ConfigError
from trsr.progress import stage

STEPS = ("import", "open", "read", "sample", "render")
NEGATIVES = 20
MOST_EXAMPLES, MOST_ITEMS = 500_000, 20_000
_SEED = 7


@dataclass(frozen=True)
class ImportPlan:
    """What to measure: data sets, the share of their size, the steps, rounds, and whose tokenizer counts tokens.

    Look-alikes and imports are made below `folder` and kept; below a temporary one if it is None.
    """

    datasets: Sequence[str]
    scale: float
    steps: Sequence[str]
    rounds: int
    model: str
    folder: Path | None

    def check(self) -> None:
        """Raise `ConfigError` for a data set or a step that is not known."""
        for option, wanted, known in (("dataset", self.datasets, ORIGINALS), ("step", self.steps, STEPS)):
            for name in wanted:
                if name not in known:
                    raise ConfigError(f"--{option}: no {option} {name!r}; take {', '.join(known)}")


@dataclass(frozen=True)
class ImportResult:
    """What a step took: the best seconds of its rounds, those of a plain read where there is one, peak memory in MB."""

    dataset: str
    step: str
    rows: int
    seconds: float
    plain_seconds: float | None
    peak_mb: float
    note: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The row of `--json`."""
        return {name: value for name, value in asdict(self).items() if name != "note"}


@dataclass(frozen=True)
class _Timed:
    rows: int
    seconds: float
    note: str = ""


def bench_import(plan: ImportPlan) -> list[ImportResult]:
    """Measure the steps on each data set. Raises `ConfigError`, `DataError` and `ModelError`."""
    plan.check()
    rows = len(plan.datasets) * len(plan.steps)
    rows += sum(bool(ORIGINALS[dataset].english) for dataset in plan.datasets) if "render" in plan.steps else 0
    with _folder(plan.folder) as folder, stage("benchmark", rows) as work:
        results = []
        for dataset in plan.datasets:
            for result in _Bench(plan, folder, dataset).run():
                results.append(result)
                work.advance(f"{dataset}, {result.step}")
    return results


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with TemporaryDirectory() as work:
        yield Path(work)


class _Bench:
    def __init__(self, plan: ImportPlan, folder: Path, dataset: str) -> None:
        self.plan, self.dataset = plan, dataset
        self.source, self.made = lookalike_in(folder, dataset, plan.scale, _SEED)
        self.imported, self.tables = folder / f"{dataset}-imported", ORIGINALS[dataset].tables

    def run(self) -> Iterator[ImportResult]:
        """The steps that are wanted; behind an import that is not among them, if there is none."""
        if "import" in self.plan.steps:
            yield self._import()
        elif not self.imported.exists():
            in_own_process(import_once, self.dataset, self.source, self.imported)
        for step, once in (("open", open_once), ("read", read_once)):
            if step in self.plan.steps:
                runs = [in_own_process(once, self.imported) for _ in range(self.plan.rounds)]
                best = min((run.value for run in runs), key=lambda timed: timed.seconds)
                yield self._result(step, best, max(run.peak_mb for run in runs))
        if "sample" in self.plan.steps:
            run = in_own_process(sample_often, self.imported, self.plan.rounds)
            yield self._result("sample", run.value, run.peak_mb)
        if "render" in self.plan.steps:
            english = ORIGINALS[self.dataset].english
            for step, ending in (("render", ""), ("render-english", english)) if english else (("render", ""),):
                run = in_own_process(render_often, self.imported, self.plan.model, self.plan.rounds, ending)
                yield self._result(step, run.value, run.peak_mb)

    def _import(self) -> ImportResult:
        ours, peaks = [], []
        plain: dict[Compression, list[float]] = {DEFAULT: [], COMPRESSION: []}
        for _ in range(self.plan.rounds):
            shutil.rmtree(self.imported, ignore_errors=True)
            run = in_own_process(import_once, self.dataset, self.source, self.imported)
            ours.append(run.value)
            peaks.append(run.peak_mb)
            for codec, seconds in plain.items():
                runs = [in_own_process(plain_once, way, self.tables, self.source, codec) for way in PLAIN_WAYS]
                seconds += [run.value for run in runs]
        best, least = min(ours), {codec: min(seconds) for codec, seconds in plain.items()}
        note = f"{best / least[DEFAULT]:.2f} × plain, {best / least[COMPRESSION]:.2f} × plain with {COMPRESSION}"
        return self._result("import", _Timed(self.made.rows, best, note), max(peaks), least[DEFAULT])

    def _result(self, step: str, timed: _Timed, peak_mb: float, plain: float | None = None) -> ImportResult:
        return ImportResult(self.dataset, step, timed.rows, timed.seconds, plain, peak_mb, timed.note)


def import_once(dataset: str, source: Path, target: Path) -> float:
    """Seconds of one import."""
    from trsr.data.importing import import_dataset

    started = time.perf_counter()
    import_dataset(ORIGINALS[dataset].format, source, target)
    return time.perf_counter() - started


def plain_once(way: PlainWay, tables: Sequence[TextTable], source: Path, compression: Compression) -> float:
    """Seconds of one plain read, to a place that is deleted again."""
    with TemporaryDirectory(dir=source.parent) as target:
        started = time.perf_counter()
        way(tables, source, Path(target), compression)
        return time.perf_counter() - started


def open_once(folder: Path) -> _Timed:
    """Open the dataset folder and look at the first user of it."""
    user = pl.scan_parquet(dataset_files(folder)[1]).select(USER).head(1).collect().item()
    started = time.perf_counter()
    opened = DatasetFolder.open(folder)
    texts = opened.texts(opened.history(user)[ITEM].to_list())
    seconds = time.perf_counter() - started
    return _Timed(opened.events, seconds, f"{len(texts)} items of one user")


def read_once(folder: Path) -> _Timed:
    """Read the whole dataset folder."""
    started = time.perf_counter()
    dataset = _read(folder)
    seconds = time.perf_counter() - started
    return _Timed(dataset.interactions.height, seconds)


def sample_often(folder: Path, rounds: int) -> _Timed:
    """Candidates for the last event of at most `MOST_EXAMPLES` users who have two."""
    dataset = _read(folder)
    last = (pl.col(ORDER) == pl.len().over(USER) - 1) & (pl.col(ORDER) > 0)
    examples = dataset.interactions.filter(last).rename({ORDER: CUT}).select(USER, CUT, ITEM)
    if examples.height > MOST_EXAMPLES:
        examples = examples.sample(MOST_EXAMPLES, seed=_SEED)
    examples = examples.with_columns(pl.format("{}@{}", USER, CUT).alias(EXAMPLE))
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        sample_candidates(examples, dataset.interactions, dataset.items[ITEM], NEGATIVES, _SEED)
        seconds.append(time.perf_counter() - started)
    return _Timed(examples.height, min(seconds), f"{NEGATIVES} negatives")


def render_often(folder: Path, model: str, rounds: int, ending: str) -> _Timed:
    """Texts and tokens of at most `MOST_ITEMS` items whose ids end so."""
    from trsr.llm.chat import ChatFormat
    from trsr.llm.weights import load_tokenizer, resolve_weights
    from trsr.prompts.items import ItemTexts
    from trsr.prompts.templates import TemplateSet

    chat = ChatFormat(load_tokenizer(resolve_weights(model, with_weights=False)))
    items = pl.scan_parquet(dataset_files(folder)[0]).filter(pl.col(ITEM).str.ends_with(ending)).collect()
    items = items.sample(min(items.height, MOST_ITEMS), seed=_SEED)
    attributes = [name for name in items.columns if name != ITEM]
    rows = {row[ITEM]: row for row in items.iter_rows(named=True)}
    seconds = []
    for _ in range(rounds):
        texts = ItemTexts(rows, attributes, TemplateSet("generic"), chat)
        started = time.perf_counter()
        tokens = texts.tokens(list(rows))
        seconds.append(time.perf_counter() - started)
    words = sum(len(texts.whole(item).split()) for item in rows)
    return _Timed(
        len(rows), min(seconds), f"{words / len(rows):.0f} words, {sum(tokens) / len(rows):.0f} tokens an item"
    )


def _read(folder: Path) -> Dataset:
    return Dataset.from_folder(folder, DataConfig(path=folder), _SEED)
