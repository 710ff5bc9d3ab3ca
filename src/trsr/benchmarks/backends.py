"""Backends that summaries are measured with: one that remembers what it was asked, and one that takes no time."""

from collections.abc import Sequence

from trsr.llm.protocol import Call, Generation, Generator


class Recorded:
    """A backend that remembers what it was asked."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.fingerprint, self.slots = generator.fingerprint, generator.slots
        self.calls: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Remember and hand over."""
        self.calls += calls
        self._generator.submit(calls)

    def collect(self) -> list[tuple[str, Generation]]:
        """What the backend gives."""
        return self._generator.collect()

    def close(self) -> None:
        """Let go of the backend."""
        self._generator.close()


class Instant:
    """A backend that writes the same sentence at once."""

    slots = 2000

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._submitted: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Take up calls."""
        self._submitted += calls

    def collect(self) -> list[tuple[str, Generation]]:
        """An answer to all of them."""
        calls, self._submitted = self._submitted, []
        return [(call.key, Generation("gardens and music.", 1, 1)) for call in calls]

    def close(self) -> None:
        """Nothing is held."""
