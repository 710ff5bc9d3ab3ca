"""Parquet files written batch by batch: what went in is in the file, and what goes wrong is told, never waited for."""

import resource
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trsr.data.importing import writing
from trsr.data.importing.writing import ParquetWriter

SCHEMA = pl.Schema({"id": pl.String(), "tags": pl.List(pl.String()), "n": pl.Int64()})
pytestmark = pytest.mark.timeout(60)


def batch(first: int, size: int) -> pl.DataFrame:
    numbers = range(first, first + size)
    rows = [(f"é{n}", [f"t{n}"] if n % 3 else None, n) for n in numbers]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@contextmanager
def files_of_at_most(size: int):
    """A disk that says no: a file may have so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("sizes", [[], [0], [5], [0, 3], [3, 0, 4], [1] * 40])
def test_all_batches_are_in_the_file_in_order(tmp_path, sizes):
    written, first = [pl.DataFrame(schema=SCHEMA)], 0
    with ParquetWriter(tmp_path / "f.parquet", SCHEMA) as writer:
        for size in sizes:
            written.append(batch(first, size))
            writer.write(written[-1].select("n", "id", "tags"))
            first += size
    assert writer.rows == sum(sizes)
    assert_frame_equal(pl.read_parquet(tmp_path / "f.parquet"), pl.concat(written))


def test_the_same_batches_are_the_same_bytes(tmp_path):
    for name in "ab":
        with ParquetWriter(tmp_path / name, SCHEMA) as writer:
            for first in range(0, 3000, 300):
                writer.write(batch(first, 300))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("batches", [1, 2, 50])
def test_what_goes_wrong_with_the_file_reaches_who_writes(tmp_path, batches):
    def write_all():
        with ParquetWriter(tmp_path / "no such folder" / "f.parquet", SCHEMA) as writer:
            for _ in range(batches):
                writer.write(batch(0, 2))

    with pytest.raises((OSError, pl.exceptions.PolarsError), match="os error 2"):
        write_all()


@pytest.mark.parametrize("rows", [20_000, 200_000])
def test_a_full_disk_reaches_who_writes(tmp_path, rows):
    frame = pl.DataFrame({"n": np.random.default_rng(7).integers(2**60, size=rows)})

    def write_all():
        with files_of_at_most(50_000), ParquetWriter(tmp_path / "f.parquet", frame.schema) as writer:
            for part in frame.iter_slices(10_000):
                writer.write(part)

    with pytest.raises((OSError, pl.exceptions.PolarsError), match="os error 27"):
        write_all()


def test_a_failure_in_the_thread_ends_the_writing(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise pl.exceptions.PanicException("broken")

    monkeypatch.setattr(writing, "register_io_source", fails)

    def write_all():
        with ParquetWriter(tmp_path / "f.parquet", SCHEMA) as writer:
            for number in range(1000):
                writer.write(batch(number, 1))

    with pytest.raises(pl.exceptions.PanicException, match="broken"):
        write_all()


def test_an_error_of_who_writes_is_the_one_that_is_raised(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("the disk")

    monkeypatch.setattr(writing, "register_io_source", fails)

    def write_all():
        with ParquetWriter(tmp_path / "f.parquet", SCHEMA) as writer:
            writer.write(batch(0, 1))
            writer.write(batch(1, 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all()


def test_a_batch_of_other_columns_is_refused_at_once(tmp_path):
    with (
        pytest.raises(pl.exceptions.SchemaError, match=r"f\.parquet"),
        ParquetWriter(tmp_path / "f.parquet", SCHEMA) as writer,
    ):
        writer.write(batch(0, 1).with_columns(pl.col("n").cast(pl.Int32)))
