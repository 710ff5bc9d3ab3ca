"""What a run may spend at a server: calls and tokens in total, never exceeded."""

import anyio

from trsr.errors import ModelError


class Budget:
    """At most `max_calls` calls and `max_tokens` tokens read and written together; None is no limit.

    What a call will take is known only when it is done. Until then the most that it can take is held back, so the
    limit is kept with many calls under way. All of it happens in one event loop.
    """

    def __init__(self, max_calls: int | None, max_tokens: int | None) -> None:
        self.max_calls, self.max_tokens = max_calls, max_tokens
        self._calls = self._spent = self._held = 0
        self._returned = anyio.Event()

    async def take(self, most: int) -> None:
        """Hold back `most` tokens for a call; waits where calls under way may yet leave enough.

        Raises `ModelError` when the limit is reached.
        """
        if self.max_calls is not None and self._calls >= self.max_calls:
            raise ModelError(f"max_calls {self.max_calls} is reached; raise it and run again, what is done is kept")
        self._calls += 1
        while self.max_tokens is not None and self._spent + self._held + most > self.max_tokens:
            if not self._held:
                raise ModelError(
                    f"max_tokens {self.max_tokens} leaves {self.max_tokens - self._spent} where the next call may take "
                    f"{most}; raise it and run again, what is done is kept"
                )
            await self._returned.wait()
        self._held += most

    def settle(self, most: int, spent: int) -> None:
        """Return what was held back for a call, less what it took."""
        self._held -= most
        self._spent += spent
        self._returned.set()
        self._returned = anyio.Event()
