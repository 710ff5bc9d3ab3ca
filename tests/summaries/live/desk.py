"""A desk: readers, the settings and the store of their summaries, and `trsr summarize` for them in this process."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from readers import Readers, make_readers, write_settings
from writer import Writer

from cli.program import Outcome, Program
from trsr.summaries.store import ProfileVersion, SummaryStore


class Desk:
    """`writer` is the server that is asked, None for the weights in the folder `model`."""

    def __init__(self, trsr: Program, writer: Writer | None, model: Path, folder: Path) -> None:
        self.trsr, self.writer, self.model, self.folder = trsr, writer, model, folder
        self.readers: Readers = make_readers(6)
        self.method = "recurrent"
        self.store, self.table, self.shop = folder / "store.sqlite", folder / "profiles.parquet", folder / "readers"

    def summarize(self, *arguments: object, store: object = None, backend: Any = None, **changes: Any) -> Outcome:
        """`trsr summarize` of the readers as they are; `changes` are those of `write_settings`."""
        self.readers.write(self.shop)
        asked = self.writer.backend | (backend or {}) if self.writer else None
        config = write_settings(self.folder / "config.yaml", self.model, asked, **changes)
        common = ("--method", self.method, "--config", config, "--store", store or self.store)
        return self.trsr("summarize", self.shop, *common, *arguments)

    def told(self, *arguments: object, **changes: Any) -> dict[str, Any]:
        """What a command that ends well prints as JSON."""
        outcome = self.summarize("--json", *arguments, **changes)
        assert outcome.code == 0, outcome.err
        told: dict[str, Any] = json.loads(outcome.out)
        return told

    def export(self, store: object = None, **changes: Any) -> pl.DataFrame:
        """The profiles that are exported after an update, without the moments at which they were made."""
        self.told("--export", self.table, store=store, **changes)
        return pl.read_parquet(self.table).drop("created")

    def versions(self) -> dict[str, list[ProfileVersion]]:
        """All versions of every reader's profile."""
        with SummaryStore(self.store) as store:
            return {user: store.versions(user, self.method) for user in self.readers.events}
