"""Profiles in versions: what is stored of a user beside the calls, and the queries that write and read it."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from trsr.summaries.store.schema import CALL_USERS, CALLS, PROFILE_CALLS, PROFILES, in_queries, insert_new

USERS_PER_PAGE = 10_000


@dataclass(frozen=True)
class ProfileRecord:
    """A user's profile as it is put into the store.

    It covers the first `events` events of the user, the last of which is of `last_item` at `last_time` (Unix seconds,
    None where there is no time, both None without events). `inputs` is a digest over everything that the summary was
    made from and by; equal inputs mean an equal summary. `blocks` holds the item ids that it was made from, `steps` its
    text after every call, `model` is the backend's fingerprint, and `calls` holds the keys of the calls that it is made
    of, in order.
    """

    user: str
    method: str
    events: int
    last_item: str | None
    last_time: int | None
    inputs: str
    blocks: tuple[tuple[str, ...], ...]
    steps: tuple[str, ...]
    summary: str
    model: str
    calls: tuple[str, ...]


@dataclass(frozen=True)
class ProfileVersion(ProfileRecord):
    """A stored profile and when it was `created` (Unix seconds).

    `blocks` and `steps` are kept for the current version and empty in earlier ones.
    """

    created: int


_CURRENT = PROFILES.c.replaced.is_(None)


def read_inputs(connection: Connection, users: Collection[str], method: str) -> dict[str, str]:
    """The `inputs` of the current profile of every one of `users` that has one."""
    found: dict[str, str] = {}
    for some in in_queries(users):
        query = select(PROFILES.c.user_id, PROFILES.c.inputs)
        rows = connection.execute(query.where(PROFILES.c.method == method, _CURRENT, PROFILES.c.user_id.in_(some)))
        found.update((user, inputs) for user, inputs in rows)
    return found


def read_current(connection: Connection, users: Collection[str], method: str) -> Iterator[ProfileVersion]:
    """The current profile of every one of `users` that has one."""
    for some in in_queries(users):
        yield from _read(connection, PROFILES.c.method == method, _CURRENT, PROFILES.c.user_id.in_(some))


def read_versions(connection: Connection, user: str, method: str) -> Iterator[ProfileVersion]:
    """Every version of a user's profile, oldest first."""
    return _read(connection, PROFILES.c.method == method, PROFILES.c.user_id == user)


def read_users(connection: Connection, method: str, after: str | None) -> list[str]:
    """The next users that have a profile, in the order of code points."""
    query = select(PROFILES.c.user_id).where(PROFILES.c.method == method, _CURRENT)
    if after is not None:
        query = query.where(PROFILES.c.user_id > after)
    return list(connection.execute(query.order_by(PROFILES.c.user_id).limit(USERS_PER_PAGE)).scalars())


def missing_calls(connection: Connection, records: Collection[ProfileRecord]) -> set[str]:
    """Keys of calls in `records` that are not stored."""
    keys = {key for record in records for key in record.calls}
    for some in in_queries(list(keys)):
        keys -= set(connection.execute(select(CALLS.c.key).where(CALLS.c.key.in_(some))).scalars())
    return keys


def write_new(connection: Connection, records: Collection[ProfileRecord], created: int) -> int:
    """Write those of `records`, one per user and method, whose inputs are not the current ones; gives their number.

    Calls become the user's too. The caller holds the write lock, so ids can be counted up here.
    """
    current: dict[tuple[str, str], str] = {}
    for method, users in _by_method(records).items():
        current.update({(user, method): inputs for user, inputs in read_inputs(connection, users, method).items()})
    new = [record for record in records if current.get((record.user, record.method)) != record.inputs]
    if not new:
        return 0
    replaced = [
        {"whose": record.user, "how": record.method} for record in new if (record.user, record.method) in current
    ]
    if replaced:
        which = (PROFILES.c.user_id == bindparam("whose"), PROFILES.c.method == bindparam("how"), _CURRENT)
        kept = update(PROFILES).where(*which).values(replaced=created, blocks=None, steps=None)
        connection.execute(kept, replaced)
    first = 1 + (connection.execute(select(func.max(PROFILES.c.id))).scalar_one() or 0)
    numbered = list(zip(count(first), new, strict=False))
    connection.execute(PROFILES.insert(), [_row(number, record, created) for number, record in numbered])
    insert_new(
        connection,
        PROFILE_CALLS,
        [
            {"profile_id": number, "place": place, "call_key": key}
            for number, record in numbered
            for place, key in enumerate(record.calls)
        ],
    )
    insert_new(
        connection,
        CALL_USERS,
        [{"call_key": key, "user_id": record.user} for record in new for key in record.calls],
    )
    return len(new)


def _by_method(records: Collection[ProfileRecord]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for record in records:
        users.setdefault(record.method, []).append(record.user)
    return users


def _row(number: int, record: ProfileRecord, created: int) -> dict[str, Any]:
    return {
        "id": number,
        "user_id": record.user,
        "method": record.method,
        "events": record.events,
        "last_item": record.last_item,
        "last_time": record.last_time,
        "inputs": record.inputs,
        "blocks": json.dumps(record.blocks, ensure_ascii=False),
        "steps": json.dumps(record.steps, ensure_ascii=False),
        "summary": record.summary,
        "model": record.model,
        "created": created,
    }


def _read(connection: Connection, *which: Any) -> Iterator[ProfileVersion]:
    """One query for profiles and calls, so that what another process forgets is there whole or not at all."""
    query = (
        select(PROFILES, PROFILE_CALLS.c.call_key)
        .outerjoin_from(PROFILES, PROFILE_CALLS, PROFILE_CALLS.c.profile_id == PROFILES.c.id)
        .where(*which)
        .order_by(PROFILES.c.id, PROFILE_CALLS.c.place)
    )
    for _, lines in groupby(connection.execute(query), key=lambda row: row.id):
        yield _version(list(lines))


def _version(lines: Sequence[Row[Any]]) -> ProfileVersion:
    """The profile that `lines` tell of, one for each call, or one without a call."""
    first = lines[0]
    calls = [] if first.call_key is None else lines
    return ProfileVersion(
        user=first.user_id,
        method=first.method,
        events=first.events,
        last_item=first.last_item,
        last_time=first.last_time,
        inputs=first.inputs,
        blocks=tuple(tuple(block) for block in json.loads(first.blocks or "[]")),
        steps=tuple(json.loads(first.steps or "[]")),
        summary=first.summary,
        model=first.model,
        calls=tuple(line.call_key for line in calls),
        created=first.created,
    )
