"""`trsr summarize` in processes of its own, and what it leaves in a store and in an exported table."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import polars as pl

from trsr.summaries.store import SummaryStore

_ENVIRONMENT = {"PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """`trsr summarize FOLDER ARGUMENTS`, begun."""
    command = [sys.executable, "-m", "trsr", "summarize", str(folder), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | _ENVIRONMENT)


def finish(process: subprocess.Popen[str]) -> str:
    """What a process that ends well prints."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def profiles(table: Path) -> pl.DataFrame:
    """An exported table without the moments at which profiles were made."""
    return pl.read_parquet(table).drop("created")


def stored_texts(store: Path) -> set[str]:
    """The texts of all calls in a SQLite store."""
    if not store.exists():
        return set()
    with closing(sqlite3.connect(store)) as connection:
        if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'calls'").fetchall():
            return set()
        return {text.strip() for (text,) in connection.execute("SELECT text FROM calls")}


def assert_whole(place: object, method: str, users: list[str]) -> None:
    """Every user has one version of a profile, and what its steps say stands in the store as the text of a call."""
    with SummaryStore(str(place)) as store:
        assert list(store.users(method)) == users
        for user in users:
            [profile] = store.versions(user, method)
            calls = store.get_many(profile.calls)
            assert set(calls) == set(profile.calls)
            written = [calls[key].text.strip() for key in profile.calls]
            assert len(profile.steps) == len(written)
            assert all(step.endswith(text) for step, text in zip(profile.steps, written, strict=True))
