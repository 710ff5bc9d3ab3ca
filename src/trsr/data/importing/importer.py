"""A source of any format into a dataset folder: read in batches, checked by row, cleaned, filtered, written whole."""

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Any

import polars as pl

from trsr.config import FilterConfig, ImportConfig
from trsr.data.columns import ITEM, USER
from trsr.data.events import UNKNOWN_SHARE
from trsr.data.folder import COMPRESSION, INFO
from trsr.data.importing.cleaning import clean_texts
from trsr.data.importing.filters import UNKNOWN, filter_events
from trsr.data.importing.pipeline import one_behind, some_at_once
from trsr.data.importing.quarantine import NAME as QUARANTINE
from trsr.data.importing.quarantine import Quarantine
from trsr.data.importing.reader import FAULTY, IMPRESSIONS, INTERACTIONS, ITEMS, Batches, Layout, Table, choose_reader
from trsr.data.importing.report import FileCount, ImportReport
from trsr.data.importing.rows import LINE, RowBatch, with_content
from trsr.data.importing.seen import Seen
from trsr.data.importing.source import Source, check_unpacked
from trsr.data.importing.uniqueness import Unique
from trsr.data.importing.writing import ParquetWriter
from trsr.errors import ConfigError, DataError, TrsrError
from trsr.files import whole_folder
from trsr.progress import Stage, stage

_LONGEST_MESSAGE = 2000


def import_dataset(
    format_name: str,
    source: Path,
    destination: Path,
    config: ImportConfig | None = None,
    *,
    more: Sequence[Path] = (),
    replace: bool = False,
) -> ImportReport:
    """Write the dataset folder `destination` from the files at `source`; it appears whole or not at all.

    `format_name` is the name of a reader, or "auto". `more` are places of further files of the source.
    With `replace` a dataset folder that stands there is replaced. Raises `DataError` for a source that cannot be used
    or has too many bad rows, `ConfigError` for settings that do not fit it and for a destination that is taken.
    """
    config = config or ImportConfig()
    started = time.perf_counter()
    with _one_sentence(source):
        for place in (source, *more):
            _check_apart(place, destination)
        _check_destination(destination, replace)
        return _import(format_name, Source(source, *more), destination, config, started)


def _import(format_name: str, origin: Source, destination: Path, config: ImportConfig, started: float) -> ImportReport:
    reader, recognised = choose_reader(format_name, origin)
    for name, lacks in (("locale", "has no locales"), ("tables", "has columns of its own")):
        if getattr(config, name) is not None and name not in reader.options:
            raise ConfigError(f"{name}: format {reader.name} {lacks}; leave it out or name another format")
    report = ImportReport(reader.name, recognised)
    layout = reader.layout(origin, config)
    check_unpacked([table.file for table in layout.tables])
    with whole_folder(destination) as folder:
        _Import(layout, config, folder, report).run()
        report.seconds = round(time.perf_counter() - started, 3)
        content = report.as_dict() | {"config": config.model_dump(mode="json")}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / INFO).write_text(text, encoding="utf-8", errors="backslashreplace")  # a name of a file may be no text
    return report


@contextmanager
def _one_sentence(source: Path) -> Iterator[None]:
    """Errors of a panic in Polars and of the system; one line for names and values of a source that have several."""
    try:
        yield
    except (pl.exceptions.PanicException, csv.Error):  # the latter from a reader that looks at first lines
        raise DataError(f"{source}: a file there is damaged; fetch or write it again") from None
    except OSError as error:
        if not error.strerror:
            raise
        raise ConfigError(f"{error.filename or source}: cannot be reached ({error.strerror}); check the path") from None
    except TrsrError as error:
        told = str(error)
        if told.isprintable() and len(told) <= _LONGEST_MESSAGE:
            raise
        told = "".join(character if character.isprintable() else " " for character in told)
        if len(told) > _LONGEST_MESSAGE:
            told = f"{told[: _LONGEST_MESSAGE // 2]} ... {told[-_LONGEST_MESSAGE // 2 :]}"
        raise type(error)(told) from None


def _check_apart(source: Path, destination: Path) -> None:
    place, target = Path(realpath(source)), Path(realpath(destination))
    if source.is_dir() and target.is_relative_to(place):
        raise ConfigError(f"{destination}: lies inside the source; choose a place outside {source}")
    if place.is_relative_to(target):
        raise ConfigError(f"{destination}: the source is in it; choose another name")


def _check_destination(destination: Path, replace: bool) -> None:
    if not destination.exists():
        return
    if not replace:
        raise ConfigError(f"{destination}: is there already; choose another name or add --replace")
    if not (destination / "items.parquet").is_file():
        raise ConfigError(f"{destination}: is there and no dataset folder; choose another name")


@dataclass(frozen=True)
class _Converted:
    """The rows that were read, what they are by kind, and how many texts were cleaned."""

    read: RowBatch
    frames: Batches
    cleaned: Counter[str]


class _Import:
    def __init__(self, layout: Layout, config: ImportConfig, folder: Path, report: ImportReport) -> None:
        self.layout, self.config, self.folder, self.report = layout, config, folder, report
        self.attributes = _attributes(layout.items, config)
        self.cleaned: Counter[str] = Counter()
        self.unique = Unique()
        self.seen = Seen(self.unique)
        self.users: int | None = None  # where the events are what they are to be as they were read
        self.events, self.events_read = folder / "interactions.parquet", 0

    def run(self) -> None:
        self.report.attributes = list(self.attributes.values())
        self.report.notes += self.layout.notes
        with Quarantine(self.folder / QUARANTINE, self.config.max_bad) as quarantine:
            self._read(quarantine)
        self.report.cleaned = dict(self.cleaned)
        self._finish_items()
        self._finish_interactions()

    def _read(self, quarantine: Quarantine) -> None:
        kinds = {new: self.layout.items[old] for old, new in self.attributes.items()}
        schemas = {
            ITEMS: pl.Schema([(ITEM, pl.String()), *kinds.items()]),
            INTERACTIONS: self.layout.interactions,
        }
        if self.layout.impressions is not None:
            schemas[IMPRESSIONS] = self.layout.impressions
        with ExitStack() as opened:
            writers = {
                name: opened.enter_context(
                    ParquetWriter(self.folder / f"{name}.parquet", schema, statistics=name != IMPRESSIONS)
                )
                for name, schema in schemas.items()
            }
            for table in self.layout.tables:
                with stage(f"reading {table.file.name}") as work:
                    self._table(table, writers, quarantine, work)
            for frame in self.layout.rest() if self.layout.rest is not None else ():
                self._write(INTERACTIONS, frame, writers)
            if self._may_be_whole and not self.seen.has_unknown():
                self.users = self.seen.users()  # here, while the last rows are written
        if self.layout.impressions is not None:
            self.report.impressions = writers[IMPRESSIONS].rows
        self.events_read = writers[INTERACTIONS].rows

    def _table(self, table: Table, writers: Mapping[str, ParquetWriter], quarantine: Quarantine, work: Stage) -> None:
        """Rows are told apart here, and converted and cleaned in other threads meanwhile."""
        rows = 0

        def write(batch: _Converted) -> None:
            quarantine.add(table.file, batch.read.faults)
            self.cleaned.update(batch.cleaned)
            for name, frame in batch.frames.items():
                if name == FAULTY:
                    quarantine.add(table.file, with_content(frame, batch.read.frame))
                elif name == ITEMS:
                    items, conflicts = self.unique.add(frame)
                    quarantine.add(table.file, with_content(conflicts, batch.read.frame))
                    writers[ITEMS].write(items)
                else:
                    self._write(name, frame, writers)

        def convert(batch: RowBatch) -> _Converted:
            return self._converted(batch, table.convert(batch.frame))

        def use(batch: RowBatch) -> None:
            write(convert(batch))

        with some_at_once(convert, write) if table.apart else one_behind(use) as hand_over:
            for batch in _batches(table):
                rows += batch.frame.height + batch.faults.height
                hand_over(batch)
                work.update(rows)
        bad = quarantine.end_of_file(table.file, rows)
        self.report.files.append(FileCount(table.file.name, rows, bad))

    def _write(self, name: str, frame: pl.DataFrame, writers: Mapping[str, ParquetWriter]) -> None:
        writers[name].write(frame)
        if name == INTERACTIONS and self._may_be_whole:
            self.seen.add(frame)

    def _converted(self, batch: RowBatch, frames: Batches) -> _Converted:
        cleaned = Counter[str]()
        if ITEMS in frames:
            items = frames[ITEMS]
            texts = clean_texts(items.select(*self.attributes), self.config.cleaning, cleaned)
            frames = {**frames, ITEMS: texts.rename(self.attributes).with_columns(items[ITEM], items[LINE])}
        return _Converted(batch, frames, cleaned)

    def _finish_items(self) -> None:
        self.report.items, self.report.item_copies = len(self.unique), self.unique.copies
        if not self.report.items:
            raise DataError("the source holds no item that can be read; look at the first lines of its files")

    @property
    def _may_be_whole(self) -> bool:
        """Whether events are what they are to be as soon as they are read, if none is of an unknown item."""
        return self.layout.arrange is None and self.config.filters == FilterConfig()

    def _rewrite_events(self) -> None:
        parts = self.events.with_name("interactions.parts.parquet")
        self.events.rename(parts)
        events = pl.scan_parquet(parts, glob=False)
        if self.layout.arrange is not None:
            events = self.layout.arrange(events)
        events, self.report.removed = filter_events(events, self.unique.ids(), self.config.filters)
        events.sink_parquet(self.events, compression=COMPRESSION)
        parts.unlink()
        unknown = self.report.removed[UNKNOWN]
        if unknown >= UNKNOWN_SHARE * self.events_read:
            self.report.notes.append(
                f"{unknown:,} of {self.events_read:,} events name items that the source does not describe: are items "
                "and events of one release?"
            )

    def _finish_interactions(self) -> None:
        if not self.events_read:
            raise DataError("the source holds no event that can be read; look at the first lines of its files")
        with stage("interactions") as work:
            if self.users is not None:
                self.report.removed = {UNKNOWN: 0}
                self.report.events, self.report.users = self.events_read, self.users
            else:
                self._rewrite_events()
                written = pl.scan_parquet(self.events, glob=False).select(pl.len(), pl.col(USER).n_unique())
                self.report.events, self.report.users = written.collect(engine="streaming").row(0)
            work.update(self.report.events)
        if not self.report.events:
            removed = "; ".join(f"{count:,} events {what}" for what, count in self.report.removed.items() if count)
            raise DataError(f"no event is left of the source ({removed or 'there was none'}); lower the filters")


def _batches(table: Table) -> Any:
    """The row batches of a table; what Polars cannot cope with is an error of the file."""
    batches = iter(table.rows.read(table.file))
    while True:
        try:
            batch: RowBatch | None = next(batches, None)
        except (pl.exceptions.PanicException, RecursionError):  # the latter where lists are in lists, hundreds deep
            raise DataError(f"{table.file.place}: the file is damaged; fetch or write it again") from None
        if batch is None:
            return
        yield batch


def _attributes(items: pl.Schema, config: ImportConfig) -> dict[str, str]:
    """The attributes that are kept, by their names in the source, with those that they get."""
    known = [name for name in items.names() if name != ITEM]
    for name in [*(config.attributes or ()), *config.names]:
        if name not in known:
            raise ConfigError(f"attributes: the source has no {name!r}; known: {', '.join(known)}")
    attributes = {name: config.names.get(name, name) for name in config.attributes or known}
    if len(set(attributes.values())) < len(attributes) or {ITEM, LINE} & set(attributes.values()):
        raise ConfigError("names: two attributes would get one name, or that of another column; choose another")
    return attributes
