"""What events tell while they are written, so that they need not be read again: unknown items, the number of users."""

import polars as pl

from trsr.data.columns import ITEM, USER
from trsr.data.importing.uniqueness import Unique, hashes

TOGETHER = 4_000_000
"""Items that are looked up at once, and users that are counted at once; eight bytes each."""


class Seen:
    """The events so far. Ids are compared by hashes of 64 bits, two of which may be equal by chance."""

    def __init__(self, known: Unique) -> None:
        self._known, self._unknown = known, False
        self._items: list[pl.Series] = []
        self._users: list[pl.Series] = []
        self._most_users = TOGETHER

    def add(self, events: pl.DataFrame) -> None:
        """Look at some events; those of one user mostly follow each other."""
        self._items.append(hashes(events[ITEM]))
        if sum(map(len, self._items)) > TOGETHER:
            self.has_unknown()
        users = hashes(events[USER])
        self._users.append(users.filter(users.ne_missing(users.shift())))
        if sum(map(len, self._users)) > self._most_users:
            self._users = [pl.concat(self._users).unique()]
            self._most_users = TOGETHER + 2 * len(self._users[0])

    def has_unknown(self) -> bool:
        """Whether an event is of an item that was not known when it, or one of the next, was looked at."""
        if self._items and not self._unknown:
            self._unknown = self._known.lacks(pl.concat(self._items))
        self._items.clear()
        return self._unknown

    def users(self) -> int:
        """How many users have an event."""
        return pl.concat(self._users).n_unique() if self._users else 0
