"""Calls and profiles to put into a store, and what other processes do with one in the tests."""

import sqlite3
from contextlib import closing
from hashlib import sha256

from trsr.llm.protocol import Generation
from trsr.summaries.store import ProfileRecord, SummaryStore
from trsr.summaries.store.sqlite import APPLICATION_ID

V1 = """
    CREATE TABLE calls (
        "key" TEXT NOT NULL, text TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
        model TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY ("key")
    )
"""


def key_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def calls(*texts: str) -> dict[str, Generation]:
    """Calls that wrote these texts."""
    return {key_of(text): Generation(text, 10, 2) for text in texts}


def record(user: str, *texts: str, method: str = "recurrent", **changes) -> ProfileRecord:
    """A profile made of the calls that wrote these texts, by default of one event each."""
    at = len(texts)
    fields = {
        "events": at,
        "last_item": f"item {at}" if at else None,
        "last_time": 1_700_000_000 + at if at else None,
        "inputs": key_of(repr(texts)),
        "blocks": tuple((f"item {place}",) for place in range(1, at + 1)),
        "steps": texts,
        "summary": texts[-1].strip() if texts else "",
        "model": "model-a",
        "calls": tuple(key_of(text) for text in texts),
    }
    return ProfileRecord(user=user, method=method, **(fields | changes))


def put(store: SummaryStore, user: str, *texts: str, **changes) -> ProfileRecord:
    """Store a user's calls and the profile made of them, as a run does."""
    made = record(user, *texts, **changes)
    store.put_many(calls(*texts), made.model, {key: [user] for key in made.calls})
    store.put_profiles([made])
    return made


def make_v1(path, texts: list[str]) -> None:
    """A store as trsr 0.1.0 left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA application_id={APPLICATION_ID}; {V1};")
        rows = [(key_of(text), text, 10, 2, "model-a", 1_600_000_000) for text in texts]
        connection.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("PRAGMA user_version=1")
        connection.commit()


def write_beside_others(place, barrier, name: str) -> None:
    """Body of a process that opens a new store and writes its own and shared calls and profiles, one by one."""
    barrier.wait()
    with SummaryStore(place) as store:
        for number in range(50):
            own, shared = f"{name} {number}", f"shared {number}"
            users = {key_of(own): [name], key_of(shared): [name, "everybody"]}
            store.put_many({key_of(shared): Generation(f"by {name}", 1, 1), **calls(own)}, name, users)
            store.put_profiles([record(name, own), record("everybody", shared)])


def open_beside_others(place, barrier, texts: list[str]) -> None:
    """Body of a process that opens a store of trsr 0.1.0 and reads what is in it."""
    barrier.wait()
    with SummaryStore(place) as store:
        assert store.get_many(list(calls(*texts))) == calls(*texts)
        put(store, "new", "new text")
