"""A Parquet file written batch by batch, in the memory of a few batches."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import polars as pl
from polars.io.plugins import register_io_source

from trsr.data.folder import COMPRESSION

_AHEAD = 2
"""Batches that may wait for the writer."""


class ParquetWriter:
    """Writes frames of one schema to `path` one behind the other; use it in a `with` block.

    Polars pulls from a source, and an import pushes to several files at once, so each has a thread of its own from its
    second batch on. A file without a batch has no rows. What goes wrong in the thread is raised by the next `write`, or
    at the end. `statistics` are the least and the largest values of parts of the file, for who looks for some of them.
    """

    def __init__(
        self,
        path: Path,
        schema: pl.Schema,
        *,
        statistics: bool = True,
    ) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self._how: Mapping[str, Any] = {
            "compression": COMPRESSION,
            "statistics": statistics,
        }
        self._first: pl.DataFrame | None = None
        self._batches: Queue[pl.DataFrame | None] = Queue(_AHEAD)
        self._failure: BaseException | None = None
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join()
            if kind is None and self._failure is not None:
                raise self._failure
        elif kind is None:
            batch = pl.DataFrame(schema=self.schema) if self._first is None else self._first
            batch.write_parquet(self.path, **self._how)

    def write(self, batch: pl.DataFrame) -> None:
        """Add rows; columns are taken by name."""
        if self._failure is not None:
            raise self._failure
        if batch.is_empty():
            return
        batch = batch.select(self.schema.names())
        if batch.schema != self.schema:
            raise pl.exceptions.SchemaError(f"{self.path.name}: {batch.schema} where {self.schema} belongs")
        self.rows += batch.height
        if self._thread is None and self._first is None:
            self._first = batch
            return
        if self._thread is None:
            self._thread = Thread(target=self._sink, name=f"writing {self.path.name}", daemon=True)
            self._thread.start()
            self._batches.put(self._first)
            self._first = None
        self._batches.put(batch)

    def _sink(self) -> None:
        try:
            source = register_io_source(self._pull, schema=self.schema, is_pure=True)
            source.sink_parquet(self.path, **self._how)
        except BaseException as error:  # noqa: BLE001 - raised where the batches come from
            self._failure = error
            while self._batches.get() is not None:  # or whoever writes would wait for ever
                pass

    def _pull(self, *_: Any) -> Iterator[pl.DataFrame]:
        while (batch := self._batches.get()) is not None:
            yield batch
        self._batches.put(None)  # in case it is asked again
