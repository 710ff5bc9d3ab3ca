"""Profiles of the users of a dataset folder: kept up to date in a store, estimated, shown, exported and forgotten."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import polars as pl

from trsr.config import DataConfig, PromptConfig, SummaryConfig, load_experiment
from trsr.data.columns import ITEM
from trsr.data.forgetting import count_events, forget_events
from trsr.data.histories import Histories
from trsr.data.reading import read_table
from trsr.data.report import CleaningReport
from trsr.data.validation import clean_items
from trsr.errors import ConfigError, DataError
from trsr.evaluation.word_diff import Change, word_diff
from trsr.files import whole_file
from trsr.llm.backend import NoBackend, Source, decided, make_generator
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Generator
from trsr.progress import stage
from trsr.prompts.items import shown_text
from trsr.prompts.templates import TemplateSet
from trsr.summaries.counts import SummaryCounts
from trsr.summaries.estimate import Estimate, estimate_update
from trsr.summaries.export import profiles_frame
from trsr.summaries.profiles import Kept, update_profiles
from trsr.summaries.store import ProfileVersion, SummaryStore
from trsr.summaries.summarizer import Summarizer, check_method

STORE = "summaries.sqlite"
_EXPORTED_AT_ONCE = 10_000  # users


@dataclass(frozen=True)
class ProfilePlace:
    """Whose profiles: a dataset folder, the store (null for that of the settings), and an experiment's settings.

    `config` is an experiment file whose data, prompt and summary settings hold; its data path does not.
    """

    folder: Path
    store: str | None = None
    config: Path | None = None

    def settings(self) -> tuple[DataConfig, PromptConfig, SummaryConfig, int]:
        """Settings of data, prompts and summaries, and the seed."""
        if self.config is None:
            return DataConfig(path=self.folder), PromptConfig(), SummaryConfig(), 7
        experiment = load_experiment(self.config)
        data = experiment.data.model_copy(update={"path": self.folder, "bookshop": None})
        return data, experiment.prompt, experiment.summaries, experiment.seed

    def store_place(self) -> str:
        """The store that was asked for, or that of the settings, or `STORE` in the working directory."""
        return self.store or self.settings()[2].store or STORE

    def existing_store(self) -> SummaryStore:
        """The store, which must be there. Raises `ConfigError` for a path without a file."""
        if not self.has_store():
            raise ConfigError(
                f"{self.store_place()}: no such store; name the one that trsr summarize wrote with --store"
            )
        return SummaryStore(self.store_place())

    def has_store(self) -> bool:
        """Whether the store is there, as far as a file tells."""
        place = self.store_place().removeprefix("sqlite:///")
        return "://" in place or Path(place).exists()


def update_folder(place: ProfilePlace, method: str, users: int | None = None) -> dict[str, Any]:
    """Bring the profiles of a folder's users (the first `users` by id) up to date; gives counts."""
    with (
        _opened(place, method) as (summarizer, histories),
        stage(f"summaries, {method}", users or histories.users) as progress,
    ):

        def show(kept: Kept, counts: SummaryCounts) -> None:
            made, found = counts.made.calls, counts.found.calls
            progress.update(kept.unchanged + counts.users, f"{made} calls made, {found} found")

        started = time.monotonic()
        kept = update_profiles(summarizer, method, islice(histories, users), show)
        seconds = time.monotonic() - started
        progress.update(kept.users)
        usage = summarizer.usage()
        made, total = usage["of_these_made_now"]["calls"], usage["calls"]["calls"]
        return {
            **asdict(kept),
            "store": summarizer.store.place,
            "seconds": seconds,
            "calls_made": made,
            "calls_found": total - made,
            **usage,
        }


def estimate_folder(place: ProfilePlace, method: str, users: int | None = None) -> Estimate:
    """What `update_folder` would take; makes no call and writes nothing."""
    with tempfile.TemporaryDirectory() as empty:
        if not place.has_store():
            place = replace(place, store=str(Path(empty) / STORE))
        with (
            _opened(place, method) as (summarizer, histories),
            stage("users looked at", users or histories.users) as progress,
        ):
            return estimate_update(
                summarizer, method, islice(histories, users), lambda kept: progress.update(kept.users)
            )


def export_profiles(place: ProfilePlace, method: str, out: Path, users: int | None = None) -> int:
    """Write the current profiles of a folder's users (the first `users` by id) as a table; gives how many there are."""
    data, _, _, seed = place.settings()
    written = 0
    with place.existing_store() as store, tempfile.TemporaryDirectory() as work, whole_file(out) as target:
        ids = (history.user for history in islice(Histories(place.folder, data, seed), users))
        while some := list(islice(ids, _EXPORTED_AT_ONCE)):
            current = store.current_of(some, method)
            profiles_frame(current[user] for user in some if user in current).write_parquet(
                Path(work) / f"{written:012}.parquet"
            )
            written += len(current)
        if not written:
            raise DataError(f"{store.place}: no profile of method {method}; run trsr summarize first")
        pl.scan_parquet(Path(work) / "*.parquet").sink_parquet(target)
    return written


@dataclass(frozen=True)
class Step:
    """One step of a summary: the texts of the items of its block, if it has one, and what changed by it."""

    items: list[str]
    text: str
    changes: list[tuple[str, Change]]


@dataclass(frozen=True)
class Growth:
    """A user's current profile in steps, and the summaries of all versions, oldest first."""

    profile: ProfileVersion
    steps: list[Step]
    versions: list[ProfileVersion]


def show_user(place: ProfilePlace, method: str, user: str) -> Growth:
    """How a user's summary came about. Raises `DataError` where there is none."""
    check_method(method)
    data = place.settings()[0]
    with place.existing_store() as store:
        versions = store.versions(user, method)
        if not versions:
            raise DataError(f"{store.place}: no {method} profile of user {user!r}; check the id or run trsr summarize")
    path = place.folder / "items.parquet"
    items, attributes, _ = clean_items(read_table(path), data.attributes, CleaningReport(), str(path))
    shown = {item for block in versions[-1].blocks for item in block}
    rows = items.filter(pl.col(ITEM).is_in(shown)).iter_rows(named=True)
    titles = {row[ITEM]: shown_text(row, attributes) for row in rows}
    profile = versions[-1]
    steps, before = [], ""
    for block, text in zip_longest(profile.blocks, profile.steps):
        steps.append(Step([titles.get(item, item) for item in block or ()], text or "", word_diff(before, text or "")))
        before = text if method == "recurrent" else ""
    return Growth(profile, steps, versions)


def forget_user(place: ProfilePlace, user: str, drop_unowned: bool) -> dict[str, Any]:
    """Delete a user's events from the folder and all that the store has of them alone, and look for what is left.

    The store comes first: should it fail, the events are there to say who is to be forgotten. Raises `DataError` where
    neither knows the user.
    """
    events = count_events(place.folder, user)  # a folder that cannot be read is told before anything is deleted
    with place.existing_store() as store:
        forgotten = store.forget(user, drop_unowned)
        where = store.place
    if not any((events, forgotten.profiles, forgotten.calls, forgotten.kept_shared_calls)):
        raise DataError(f"{place.folder} and {where}: user {user!r} is in neither; check the id and the store")
    forget_events(place.folder, user)
    return {"user": user, "events": events, "store": where, **asdict(forgotten)}


@contextmanager
def _opened(place: ProfilePlace, method: str) -> Iterator[tuple[Summarizer, Histories]]:
    """A summariser for the folder's items on the store, and the folder's histories."""
    check_method(method)
    data, prompt, settings, seed = place.settings()
    histories = Histories(place.folder, data, seed)
    catalogue = {row[ITEM]: row for row in histories.items.iter_rows(named=True)}
    with SummaryStore(place.store_place()) as store:
        generator, chat, settings = _writer(method, settings)
        try:
            templates = TemplateSet(settings.template or prompt.template)
            attributes = histories.attributes
            yield (
                Summarizer(generator, chat, templates, settings, store, catalogue, attributes, data.max_history),
                histories,
            )
        finally:
            generator.close()


def _writer(method: str, settings: SummaryConfig) -> tuple[Generator, ChatFormat | None, SummaryConfig]:
    """What a method writes with: a backend, the format of its prompts and the settings, decided for both."""
    if method == "extractive" and settings.segments != "tokens":
        return NoBackend(), None, settings
    source = Source.of(settings)
    if method == "extractive":
        return NoBackend(), source.chat, settings
    settings = decided(settings, source)
    return make_generator(settings, source), source.chat, settings
