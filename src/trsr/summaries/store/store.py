"""The store of summaries: calls by what they depend on, profiles in versions, and forgetting a user."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, func, select

from trsr.errors import ConfigError
from trsr.llm.protocol import Generation
from trsr.summaries.store.database import open_database
from trsr.summaries.store.forgetting import Forgotten, plan_removal, prove, remove
from trsr.summaries.store.profiles import (
    ProfileRecord,
    ProfileVersion,
    missing_calls,
    read_current,
    read_inputs,
    read_users,
    read_versions,
    write_new,
)
from trsr.summaries.store.schema import CALL_USERS, CALLS, in_queries, insert_new


class SummaryStore:
    """LLM calls and the profiles made of them, at `place`; use it as a context manager.

    `place` is a path or `sqlite:///PATH`, a file made where it is missing, or `postgresql://USER:PASSWORD@HOST/DATABASE`.
    Tables of an older trsr are brought up to date. Several processes may use one store at once, and what a method
    writes is stored whole or not at all. Every method raises `ConfigError` with the place and a remedy where the store
    cannot be used.
    """

    def __init__(self, place: Path | str) -> None:
        self._database = open_database(place)
        self.place = self._database.place  # as messages show it, without a password

    def get_many(self, keys: Collection[str]) -> dict[str, Generation]:
        """What is stored under `keys`; a key that is not stored is left out."""
        found: dict[str, Generation] = {}
        with self._database.reading() as connection:
            for some in in_queries(keys):
                columns = (CALLS.c.key, CALLS.c.text, CALLS.c.tokens_in, CALLS.c.tokens_out)
                query = select(*columns).where(CALLS.c.key.in_(some))
                found.update({key: Generation(*values) for key, *values in connection.execute(query)})
        return found

    def put_many(
        self,
        generations: Mapping[str, Generation],
        model: str,
        users: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Store all of `generations` (by key) written by the backend with fingerprint `model`, or none of them.

        The first text stored under a key stays. `users` gives, by key, the users whose plans asked for the call:
        without them `forget` cannot tell whose a text is before a profile is made of it. See `put_users`.
        """
        created = int(time.time())
        rows = [{"key": key, **asdict(value), "model": model, "created": created} for key, value in generations.items()]
        if rows or users:
            with self._database.writing() as connection:
                insert_new(connection, CALLS, rows)
                _link(connection, users or {})

    def put_users(self, users: Mapping[str, Collection[str]]) -> None:
        """Note, by key of a call, the users whose plans asked for it; for calls that were found, not made."""
        if users:
            with self._database.writing() as connection:
                _link(connection, users)

    def tokens_written(self, model: str) -> float | None:
        """How many tokens `model` wrote in a call, as the mean over some of its calls; None where it has none."""
        lately = select(CALLS.c.tokens_out).where(CALLS.c.model == model).limit(1000).subquery()
        with self._database.reading() as connection:
            mean = connection.execute(select(func.avg(lately.c.tokens_out))).scalar_one()
        return None if mean is None else float(mean)

    def known_users(self, users: Collection[str]) -> set[str]:
        """Those of `users` whose plans have asked for a call that is stored."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for some in in_queries(users):
                query = select(CALL_USERS.c.user_id).distinct().where(CALL_USERS.c.user_id.in_(some))
                found.update(connection.execute(query).scalars())
        return found

    def put_profile(self, record: ProfileRecord) -> bool:
        """`put_profiles` of one; whether it is a new version."""
        return self.put_profiles([record]) == 1

    def put_profiles(self, records: Iterable[ProfileRecord]) -> int:
        """Store profiles, all or none; gives how many are new versions.

        A version is new where its inputs are not those of the current one, which is kept as an earlier version. Of
        several records for one user and method the last counts. Raises `ConfigError` where calls of a profile are not
        stored, for the user was forgotten while the summary was made.
        """
        last = {(record.user, record.method): record for record in records}
        if not last:
            return 0
        with self._database.writing() as connection:
            missing = missing_calls(connection, last.values())
            if missing:
                lacking = next(record for record in last.values() if missing & set(record.calls))
                fact = f"calls of user {lacking.user!r} are gone, for they were forgotten while their summary was made"
                raise ConfigError(f"{self.place}: {fact}; run again")
            return write_new(connection, last.values(), int(time.time()))

    def inputs_of(self, users: Collection[str], method: str) -> dict[str, str]:
        """The inputs of the current profile by user; a user without one is left out."""
        with self._database.reading() as connection:
            return read_inputs(connection, users, method)

    def current_of(self, users: Collection[str], method: str) -> dict[str, ProfileVersion]:
        """The current profile by user; a user without one is left out."""
        with self._database.reading() as connection:
            return {version.user: version for version in read_current(connection, users, method)}

    def current(self, user: str, method: str) -> ProfileVersion | None:
        """The current profile of a user, if there is one."""
        return self.current_of([user], method).get(user)

    def versions(self, user: str, method: str) -> list[ProfileVersion]:
        """Every version of a user's profile, oldest first."""
        with self._database.reading() as connection:
            return list(read_versions(connection, user, method))

    def users(self, method: str) -> Iterator[str]:
        """Every user with a profile, in the order of code points, read page by page.

        No connection is held between pages, so the store may be written meanwhile.
        """
        after: str | None = None
        while True:
            with self._database.reading() as connection:
                page = read_users(connection, method, after)
            if not page:
                return
            yield from page
            after = page[-1]

    def forget(self, user: str, drop_unowned: bool = False) -> Forgotten:
        """Delete a user's profiles and every text that is theirs alone, clear them from the files and look for them.

        A text that another user's plan asked for too stays: it was not derived from this user alone. Calls without
        users, as those of trsr 0.1.0, may be anybody's: `ConfigError` unless `drop_unowned`, which deletes them too.
        Raises `ConfigError` where anything is left. May be called again after a failure: what is gone stays gone,
        and the files are cleared once more.
        """
        with self._database.writing() as connection:
            removal = plan_removal(connection, user, drop_unowned, self.place)
            remove(connection, removal)
        self._database.erase(removal.keys)
        with self._database.reading() as connection:
            prove(connection, removal, self.place)
        return removal.counts

    def close(self) -> None:
        """Let go of the store."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _link(connection: Connection, users: Mapping[str, Collection[str]]) -> None:
    insert_new(connection, CALL_USERS, [{"call_key": key, "user_id": user} for key, of in users.items() for user in of])
