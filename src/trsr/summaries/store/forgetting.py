"""Forgetting a user: everything stored of them alone is deleted, and looked for afterwards."""

from dataclasses import dataclass

from sqlalchemy import Connection, Select, delete, exists, func, select

from trsr.errors import ConfigError
from trsr.summaries.store.schema import CALL_USERS, CALLS, PROFILE_CALLS, PROFILES, in_queries


@dataclass(frozen=True)
class Forgotten:
    """How many versions of profiles and texts of calls are gone, and how many texts stay for other users.

    `unowned_calls` are the texts without a user, which are gone too where that was asked for.
    """

    profiles: int
    calls: int
    kept_shared_calls: int
    unowned_calls: int


@dataclass(frozen=True)
class Removal:
    """What to delete of `user`: ids of `profiles`, keys of `calls` (theirs alone) and of `unowned` calls."""

    user: str
    profiles: list[int]
    calls: list[str]
    unowned: list[str]
    shared: int

    @property
    def keys(self) -> list[str]:
        """The keys of all texts to delete."""
        return self.calls + self.unowned

    @property
    def counts(self) -> Forgotten:
        """The removal in numbers."""
        return Forgotten(len(self.profiles), len(self.calls), self.shared, len(self.unowned))


def plan_removal(connection: Connection, user: str, drop_unowned: bool, place: str) -> Removal:
    """What there is of a user.

    Raises `ConfigError` where calls have no user, as those of trsr 0.1.0, and are not to be dropped: any of them may
    be this user's.
    """
    of_user = CALL_USERS.c.user_id == user
    other = CALL_USERS.alias()
    shared = exists().where(other.c.call_key == CALL_USERS.c.call_key, other.c.user_id != user)
    stored = exists().where(CALLS.c.key == CALL_USERS.c.call_key)
    unowned = _keys(connection, select(CALLS.c.key).where(~exists().where(CALL_USERS.c.call_key == CALLS.c.key)))
    if unowned and not drop_unowned:
        remedy = "summarize all users once, so that texts find theirs, or drop the texts without a user"
        raise ConfigError(
            f"{place}: {len(unowned)} texts have no user, so none can be proved not to be of {user!r}; {remedy}"
        )
    return Removal(
        user,
        profiles=list(connection.execute(select(PROFILES.c.id).where(PROFILES.c.user_id == user)).scalars()),
        calls=_keys(connection, select(CALL_USERS.c.call_key).where(of_user, stored, ~shared)),
        unowned=unowned,
        shared=len(_keys(connection, select(CALL_USERS.c.call_key).where(of_user, stored, shared))),
    )


def remove(connection: Connection, removal: Removal) -> None:
    """Delete all of `removal`."""
    for ids in in_queries(removal.profiles):
        connection.execute(delete(PROFILE_CALLS).where(PROFILE_CALLS.c.profile_id.in_(ids)))
    for keys in in_queries(removal.keys):
        connection.execute(delete(CALLS).where(CALLS.c.key.in_(keys)))
    connection.execute(delete(PROFILES).where(PROFILES.c.user_id == removal.user))
    connection.execute(delete(CALL_USERS).where(CALL_USERS.c.user_id == removal.user))


def prove(connection: Connection, removal: Removal, place: str) -> None:
    """Look for what must be gone; `ConfigError` where any of it is there, as when a run still writes."""
    profile = exists().where(PROFILES.c.id == PROFILE_CALLS.c.profile_id)
    searches = [
        select(func.count(PROFILES.c.id)).where(PROFILES.c.user_id == removal.user),
        select(func.count(CALL_USERS.c.call_key)).where(CALL_USERS.c.user_id == removal.user),
        select(func.count(PROFILE_CALLS.c.call_key)).where(~profile),
    ]
    for keys in in_queries(removal.keys):
        searches.append(select(func.count(CALLS.c.key)).where(CALLS.c.key.in_(keys)))
        searches.append(select(func.count(PROFILE_CALLS.c.call_key)).where(PROFILE_CALLS.c.call_key.in_(keys)))
    left = sum(connection.execute(search).scalar_one() for search in searches)
    if left:
        remedy = "end the processes that use the store and forget again"
        raise ConfigError(f"{place}: {left} rows of user {removal.user!r} are there after their removal; {remedy}")


def _keys(connection: Connection, query: Select[str]) -> list[str]:
    return list(connection.execute(query).scalars())
