"""Whatever is wrong with a source, an import ends in a dataset folder that opens, or in one sentence.

TRSR_MUTATIONS is how many sources are made of each sample, 40 if it is not set. 10,000 are run by

    TRSR_MUTATIONS=10000 POLARS_MAX_THREADS=1 pytest tests/data/importing/test_mutations.py
"""

import os
import random
import shutil
import signal
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from mutations import mutated
from samples import SAMPLES

from trsr.config import DataConfig, ImportConfig, parse_settings
from trsr.data.dataset import Dataset
from trsr.data.histories import Histories
from trsr.data.importing import import_dataset
from trsr.data.importing.reader import readers
from trsr.data.importing.source import Source
from trsr.errors import DataError, TrsrError

SEEDS = int(os.environ.get("TRSR_MUTATIONS", "40"))
LONGEST = 20  # seconds an import of a few lines may take on the busiest machine


@contextmanager
def watched():
    """`TimeoutError` for what does not end."""

    def bark(*_):
        raise TimeoutError(f"no end within {LONGEST} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def written(folder: Path, files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def opened(folder: Path, both_ways: bool = True) -> str:
    """What comes of opening a dataset folder: its histories, the same both ways, or one sentence of both."""
    config = DataConfig(path=folder)
    try:
        histories = Dataset.from_folder(folder, config, 7).histories()
    except DataError as error:
        check_message(error)
        with pytest.raises(DataError):
            list(Histories(folder, config, 7))
        return "folder that does not open"
    if both_ways:
        assert {history.user: list(history.items) for history in Histories(folder, config, 7)} == histories
    return "folder"


def check_message(error: TrsrError) -> None:
    assert str(error).isprintable(), str(error)
    assert len(str(error)) < 2500
    assert "; " in str(error) or "?" in str(error), str(error)  # a remedy


def outcome(reader: str, source: Path, settings: dict, both_ways: bool = True) -> str:
    """How an import of what is at `source` ends; an error of another kind is raised."""
    made = source.parent / "made"
    before = set(source.parent.iterdir())
    try:
        with watched():
            import_dataset(reader, source, made, parse_settings(ImportConfig, settings, "test"))
            ended = opened(made, both_ways)
    except TrsrError as error:
        assert set(source.parent.iterdir()) == before
        check_message(error)
        return type(error).__name__
    assert set(source.parent.iterdir()) == {*before, made}
    assert not list(made.glob("*.parts.*"))
    shutil.rmtree(made)
    return ended


def test_there_is_a_sample_of_every_built_in_format():
    assert {reader for reader, *_ in SAMPLES.values()} >= {name for name in readers() if not name.startswith("test")}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_good(name, tmp_path):
    reader, files, settings = SAMPLES[name]
    written(tmp_path / "raw", files())
    assert bool(readers()[reader].recognise(Source(tmp_path / "raw"))) == (reader != "table")
    report = import_dataset(reader, tmp_path / "raw", tmp_path / "made", parse_settings(ImportConfig, settings, "test"))
    assert (report.users, report.bad, report.removed["of unknown items"]) == (3, 0, 0)
    assert opened(tmp_path / "made") == "folder"


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_mutated_source_is_a_dataset_folder_or_one_sentence(name, tmp_path, capsys):
    reader, files, settings = SAMPLES[name]
    good, source = files(), tmp_path / "raw"
    ends: Counter[str] = Counter()
    for number in range(SEEDS):
        seed = f"{name} {number}"
        changed, told = mutated(good, seed)
        written(source, changed)
        max_bad = random.Random(seed).choice((0.05, 0.5, 1.0))
        try:
            ends[outcome(reader, source, {**settings, "max_bad": max_bad}, number % 4 == 0)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed!r}, max_bad {max_bad}: {told}")
            raise
    if SEEDS >= 40:  # or the changes are no longer of many kinds
        assert min(ends["folder"], ends["DataError"]) > 0


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("movielens", 160),  # no line feed in the first row
        ("movielens", 193),  # -1e23 seconds
        ("huggingface", 272),  # a flipped bit in a batch
        ("trsr", 1040),  # a struct for a rating
        ("trsr", 1079),  # a categorical for a rating
        ("mind", 1005),  # impressions and no event
        ("amazon18-splits", 1080),  # thousands of lists in each other
    ],
)
def test_what_went_wrong_once(name, number, tmp_path):
    reader, files, settings = SAMPLES[name]
    changed, _ = mutated(files(), f"{name} {number}")
    written(tmp_path / "raw", changed)
    assert outcome(reader, tmp_path / "raw", {**settings, "max_bad": 1.0}) in ("DataError", "folder")
