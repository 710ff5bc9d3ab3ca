"""A summariser and prompts without a model: what is written depends on the prompt and on nothing else."""

import os
import signal
from hashlib import sha256
from pathlib import Path

from trsr.llm.protocol import Decoding, Generation, Piece, Prompt
from trsr.summaries.plan import Plan
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Profile, SummaryRunner
from trsr.summaries.segments import segment_by_count
from trsr.summaries.store import SummaryStore

DECODING = Decoding(max_new_tokens=64)


class FakePrompts:
    def __init__(self, fan_in: int = 3):
        self.fan_in = fan_in

    def block(self, items):
        return self._prompt("block", items)

    def update(self, summary, items):
        return self._prompt("update", [summary, *items])

    def merge(self, summaries):
        assert 2 <= len(summaries) <= self.fan_in
        return self._prompt("merge", summaries)

    def finish(self, generated):
        return generated.strip()

    def _prompt(self, task, texts):
        return Prompt((Piece(task, True),), tuple(Piece(text, False) for text in texts))


class FakeGenerator:
    """Counts its batches; with `limit`, the batch after that many does not return."""

    fingerprint = "fake"

    def __init__(self, batch_size: int = 4, limit: int | None = None, failure=RuntimeError):
        self.batch_size = batch_size
        self.limit = limit
        self.failure = failure
        self.batches: list[list[Prompt]] = []

    @property
    def prompts(self) -> list[Prompt]:
        return [prompt for batch in self.batches for prompt in batch]

    def generate(self, prompts, decoding):
        if len(self.batches) == self.limit:
            self.fail()
        self.batches.append(list(prompts))
        return [write(prompt) for prompt in prompts]

    def fail(self):
        raise self.failure


class KilledGenerator(FakeGenerator):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


def write(prompt: Prompt) -> Generation:
    return Generation(f"  {sha256(repr(prompt).encode()).hexdigest()[:12]}\n", tokens_in=10, tokens_out=2)


def histories(users: int, items: int = 6) -> dict[str, list[str]]:
    return {f"u{user}": [f"u{user}-i{item}" for item in range(items)] for user in range(users)}


def plans(histories: dict[str, list[str]], method=recurrent, size: int = 2, fan_in: int = 3):
    for user, items in histories.items():
        yield user, method(segment_by_count(items, size), FakePrompts(fan_in))


def follow(plan: Plan) -> Profile:
    """The slow obvious way: one plan, one call after the other."""
    steps: list[str] = []
    texts = None
    while True:
        try:
            prompts = plan.send(texts) if texts is not None else next(plan)
        except StopIteration as end:
            return Profile(end.value, tuple(steps))
        texts = [write(prompt).text.strip() for prompt in prompts]
        steps += texts


def make_runner(generator: FakeGenerator, store: SummaryStore, window: int | None = None) -> SummaryRunner:
    return SummaryRunner(generator, store, DECODING, FakePrompts().finish, window)


def run_until_killed(path: Path, batches: int) -> None:
    """Body of a process that dies of SIGKILL inside a batch."""
    with SummaryStore(path) as store:
        list(make_runner(KilledGenerator(limit=batches), store).run(plans(histories(10))))


def write_beside_others(path: Path, barrier, name: str) -> None:
    """Body of a process that opens a new store and writes 50 calls of its own and 50 shared ones, one by one."""
    barrier.wait()
    with SummaryStore(path) as store:
        for number in range(50):
            shared = Generation(f"text {number}", 1, 1)
            own = Generation(f"{name} {number}", 1, 1)
            store.put_many({f"shared-{number}": shared, f"{name}-{number}": own}, name)
