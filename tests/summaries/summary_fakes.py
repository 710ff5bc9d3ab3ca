"""Backends, prompts and judges without a model: what is written depends on prompt and decoding and on nothing else."""

import os
import random
import signal
from hashlib import sha256
from pathlib import Path

from trsr.llm.protocol import Call, Decoding, Generation, Piece, Prompt
from trsr.summaries.plan import Plan, Request
from trsr.summaries.quality import Examined, Fault
from trsr.summaries.recurrent import recurrent
from trsr.summaries.runner import Job, Judge, Profile, SummaryRunner
from trsr.summaries.segments import segment_by_count
from trsr.summaries.store import SummaryStore, call_key

DECODING = Decoding(max_new_tokens=64)
RETRY = Decoding(max_new_tokens=64, repetition_penalty=1.3)


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

    def _prompt(self, task, texts):
        return Prompt((Piece(task, True),), tuple(Piece(text, False) for text in texts))


class FakeGenerator:
    """Answers all calls under way as one batch; with `limit`, the batch after that many does not return."""

    fingerprint = "fake"

    def __init__(self, slots: int = 4, limit: int | None = None, failure=RuntimeError):
        self.slots = slots
        self.limit = limit
        self.failure = failure
        self.under_way: list[Call] = []
        self.submits: list[list[Call]] = []
        self.batches: list[list[Call]] = []
        self.rounds: list[tuple[list[Call], list[Call]]] = []  # what was under way, and what came home of it

    @property
    def calls(self) -> list[Call]:
        return [call for batch in self.batches for call in batch]

    def submit(self, calls):
        assert calls
        assert len({call.key for call in [*self.under_way, *calls]}) == len(self.under_way) + len(calls) <= self.slots
        self.submits.append(list(calls))
        self.under_way += calls

    def collect(self):
        if len(self.batches) == self.limit:
            self.fail()
        done = self.choose()
        self.batches.append(done)
        self.rounds.append((self.under_way, done))
        self.under_way = [call for call in self.under_way if call not in done]
        return [(call.key, write(call.prompt, call.decoding)) for call in done]

    def choose(self) -> list[Call]:
        return self.under_way

    def close(self):
        self.under_way = []

    def fail(self):
        raise self.failure


class KilledGenerator(FakeGenerator):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class AnyOrderGenerator(FakeGenerator):
    """Answers some of the calls under way, in any order, as a server with many requests in flight does."""

    def __init__(self, slots: int = 7, seed: int = 0, **changes):
        super().__init__(slots, **changes)
        self.random = random.Random(seed)

    def choose(self):
        return self.random.sample(self.under_way, self.random.randint(1, len(self.under_way)))


def write(prompt: Prompt, decoding: Decoding = DECODING) -> Generation:
    return Generation(f"  {sha256(repr((prompt, decoding)).encode()).hexdigest()[:12]}\n", tokens_in=10, tokens_out=2)


def stand_in(items) -> str:
    return f"about {' '.join(items)}"


def judge_by(rule) -> Judge:
    """A judge who finds a text faulty where `rule` says so of its prompt and decoding."""

    def examine(prompt, generation):
        decoding = next(decoding for decoding in (DECODING, RETRY) if write(prompt, decoding) == generation)
        return Examined(generation.text.strip(), (Fault.ECHO,) if rule(prompt, decoding) else ())

    return Judge(examine, RETRY, stand_in)


def _finds_half_faulty(prompt, generation):
    text = generation.text.strip()
    return Examined(text, (Fault.ECHO,) if text[-1] < "8" else ())


LENIENT = Judge(lambda prompt, generation: Examined(generation.text.strip(), ()), RETRY, stand_in)
STRICT = Judge(_finds_half_faulty, RETRY, stand_in)  # half of the first attempts, half of the second ones


def histories(users: int, items: int = 6) -> dict[str, list[str]]:
    return {f"u{user}": [f"u{user}-i{item}" for item in range(items)] for user in range(users)}


def uneven(users: int) -> dict[str, list[str]]:
    """Histories of 0 to 16 items, so that plans end at different times; every third user has read what all read."""
    return {
        user: [f"i{item}" if number % 3 == 0 else text for item, text in enumerate(items[: 7 * number % 17])]
        for number, (user, items) in enumerate(histories(users, 16).items())
    }


def jobs(histories: dict[str, list[str]], method=recurrent, size: int = 2, fan_in: int = 3):
    """A job for every user, named otherwise than the user is."""
    for user, items in histories.items():
        yield Job(f"of {user}", user, method(segment_by_count(items, size), FakePrompts(fan_in)))


def follow(plan: Plan, judge: Judge = LENIENT) -> Profile:
    """The slow obvious way: one plan, one call after the other."""
    steps: list[str] = []
    keys: list[str] = []
    texts = None
    while True:
        try:
            wave = plan.send(texts) if texts is not None else next(plan)
        except StopIteration as end:
            return Profile(end.value, tuple(steps), tuple(keys))
        texts = [_answer(request, judge, keys) for request in wave.requests]
        steps += texts


def _answer(request: Request, judge: Judge, keys: list[str]) -> str:
    for decoding in (DECODING, judge.retry):
        keys.append(call_key("fake", request.prompt, decoding))
        examined = judge.examine(request.prompt, write(request.prompt, decoding))
        if not examined.faults:
            return examined.text
    return request.previous or judge.stand_in(request.items)


def slow_way(wanted, method=recurrent, judge: Judge = LENIENT, **shape) -> dict[str, Profile]:
    """Every user's profile, made one by one."""
    return {job.user: follow(job.plan, judge) for job in jobs(wanted, method, **shape)}


def make_runner(
    generator: FakeGenerator, store: SummaryStore, window: int | None = None, judge: Judge = LENIENT
) -> SummaryRunner:
    return SummaryRunner(generator, store, DECODING, judge, window)


def by_user(finished) -> dict[str, Profile]:
    """What a run yields, by user; a job that is yielded twice or under another's name is an error."""
    found: dict[str, Profile] = {}
    for job, profile in finished:
        assert job.name == f"of {job.user}"
        assert job.user not in found
        found[job.user] = profile
    return found


def run_until_killed(path: Path, batches: int) -> None:
    """Body of a process that dies of SIGKILL inside a batch."""
    with SummaryStore(path) as store:
        list(make_runner(KilledGenerator(limit=batches), store).run(jobs(histories(10))))
