"""The runner: the calls of many users, always as many under way as the backend wants, each stored once it is made."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import Protocol

from trsr.llm.protocol import Call, Decoding, Generation, Generator, Prompt
from trsr.summaries.counts import SummaryCounts, Usage
from trsr.summaries.plan import Plan, Request
from trsr.summaries.quality import Examined
from trsr.summaries.store import call_key

SLOTS_IN_SIGHT = 8


@dataclass(frozen=True)
class Job:
    """A plan to be run: `name` tells it from others, `user` is whose history it reads."""

    name: str
    user: str
    plan: Plan


@dataclass(frozen=True)
class Profile:
    """A user's summary, its text after every step, and the keys of the calls that it is made of."""

    summary: str
    steps: tuple[str, ...]
    keys: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """How many LLM calls the summary is made of."""
        return len(self.keys)


class CallStore(Protocol):
    """Where a run keeps its calls; see `SummaryStore`."""

    def get_many(self, keys: Collection[str]) -> dict[str, Generation]:
        """What is stored under `keys`."""
        ...

    def put_many(
        self, generations: Mapping[str, Generation], model: str, users: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """Store calls that were made, and the users whose plans asked for them."""
        ...

    def put_users(self, users: Mapping[str, Collection[str]]) -> None:
        """Note the users whose plans asked for calls that were found."""
        ...


@dataclass(frozen=True)
class Judge:
    """What becomes of a generation.

    `examine` gives its text and faults, `retry` is the decoding of a second attempt at a faulty one, and `stand_in`
    writes about items where that is faulty too and there is no earlier summary.
    """

    examine: Callable[[Prompt, Generation], Examined]
    retry: Decoding
    stand_in: Callable[[Sequence[str]], str]


@dataclass
class _Wanted:
    """A request on its way: the calls made for it so far, and its text once there is one."""

    request: Request
    calls: list[Call]
    text: str | None = None


@dataclass
class _Running:
    """A job whose plan waits for `wanted`, until it is done."""

    job: Job
    wanted: list[_Wanted] = field(default_factory=list)
    left: int = 0
    steps: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    done: bool = False

    def lacking(self) -> list[Call]:
        """The calls that the plan waits for."""
        return [wanted.calls[-1] for wanted in self.wanted if wanted.text is None]


def _ignore(counts: SummaryCounts) -> None:
    pass


class SummaryRunner:
    """Runs the plans of many users on one backend.

    The store is the only memory: what a plan asks for is read from it, and what is missing is generated and stored
    at once. So a killed run loses the calls under way and nothing else, and equal calls, of this run or another, are
    made once. What a backend of batches is given is a function of plans and store, so that a run that was killed
    makes the very batches that it would have made (`docs/decisions/0004`). `counts` adds up over all runs.
    """

    def __init__(
        self,
        generator: Generator,
        store: CallStore,
        decoding: Decoding,
        judge: Judge,
        window: int | None = None,
    ) -> None:
        self.generator, self.store, self.decoding, self.judge = generator, store, decoding, judge
        self.window = window or SLOTS_IN_SIGHT * generator.slots
        self.counts = SummaryCounts()

    def run(
        self, jobs: Iterable[Job], on_progress: Callable[[SummaryCounts], None] = _ignore
    ) -> Iterator[tuple[Job, Profile]]:
        """Yield every job with its profile as they get done; take jobs as there is room for them.

        At most `window` jobs are unfinished at a time, and none is kept once it is yielded. `on_progress` is called
        whenever something was done.
        """
        yield from _Run(self, iter(jobs), on_progress).go()


class _Run:
    def __init__(
        self, runner: SummaryRunner, coming: Iterator[Job], on_progress: Callable[[SummaryCounts], None]
    ) -> None:
        self.runner, self.coming, self.on_progress = runner, coming, on_progress
        self.counts = runner.counts
        self.finished: list[tuple[Job, Profile]] = []
        self.unfinished = 0
        self.waiting: dict[str, dict[str, _Running]] = defaultdict(dict)  # by the key of a call that the store lacks
        self.ready: dict[str, Call] = {}
        self.queue: list[tuple[int, int, str]] = []  # a heap of the keys of `ready`, in the order of `_submit`
        self.under_way: set[str] = set()

    def go(self) -> Iterator[tuple[Job, Profile]]:
        while True:
            while self._take_up():
                yield from self._hand_out()
            yield from self._hand_out()
            if not self.ready and not self.under_way:
                return
            self._submit()
            self._bring_home()

    def _hand_out(self) -> Iterator[tuple[Job, Profile]]:
        self.on_progress(self.counts)
        yield from self.finished
        self.finished.clear()

    def _take_up(self) -> bool:
        """Start the jobs that there is room for, and take them as far as the store goes; whether there was one."""
        started = [_Running(job) for job in islice(self.coming, self.runner.window - self.unfinished)]
        self.unfinished += len(started)
        for running in started:
            self._advance(running, None)
        self._replay(started)
        return bool(started)

    def _replay(self, moved: Sequence[_Running]) -> None:
        """Take jobs as far as the store goes, then let them wait."""
        while moved := [running for running in moved if not running.done]:
            known = self.runner.store.get_many({call.key for running in moved for call in running.lacking()})
            owners: dict[str, set[str]] = defaultdict(set)
            again = []
            for running in moved:
                for call in running.lacking():
                    if call.key in known:
                        owners[call.key].add(running.job.user)
                        self.counts.found += Usage.of([known[call.key]])
                if self._settle(running, known):
                    again.append(running)
                else:
                    self._wait(running)
            self.runner.store.put_users(owners)
            moved = again

    def _settle(self, running: _Running, known: Mapping[str, Generation]) -> bool:
        """Judge what is known of a job's requests; whether it moved: to a next wave, an end or a second attempt."""
        before = [len(wanted.calls) for wanted in running.wanted]
        for wanted in running.wanted:
            if wanted.text is None and wanted.calls[-1].key in known:
                self._judge(wanted, known[wanted.calls[-1].key])
        if all(wanted.text is not None for wanted in running.wanted):
            self._advance(running, [wanted.text or "" for wanted in running.wanted])
            return True
        return before != [len(wanted.calls) for wanted in running.wanted]

    def _judge(self, wanted: _Wanted, generation: Generation) -> None:
        judge, request = self.runner.judge, wanted.request
        examined = judge.examine(request.prompt, generation)
        self.counts.faults.update(str(fault) for fault in examined.faults)
        if not examined.faults:
            wanted.text = examined.text
        elif len(wanted.calls) == 1:
            self.counts.retried += 1
            wanted.calls.append(self._call(request.prompt, judge.retry))
        else:
            self.counts.replaced["previous" if request.previous else "extractive"] += 1
            wanted.text = request.previous or judge.stand_in(request.items)

    def _advance(self, running: _Running, texts: list[str] | None) -> None:
        """Send a plan the texts it waits for (None starts it) and note what it asks for next."""
        running.steps += texts or []
        running.keys += [call.key for wanted in running.wanted for call in wanted.calls]
        try:
            wave = next(running.job.plan) if texts is None else running.job.plan.send(texts)
        except StopIteration as end:
            self.finished.append((running.job, Profile(end.value, tuple(running.steps), tuple(running.keys))))
            running.done, running.wanted = True, []
            self.counts.users += 1
            self.unfinished -= 1
        else:
            running.left = wave.left
            decoding = self.runner.decoding
            running.wanted = [_Wanted(asked, [self._call(asked.prompt, decoding)]) for asked in wave.requests]

    def _call(self, prompt: Prompt, decoding: Decoding) -> Call:
        return Call(call_key(self.runner.generator.fingerprint, prompt, decoding), prompt, decoding)

    def _wait(self, running: _Running) -> None:
        for call in running.lacking():
            self.waiting[call.key][running.job.name] = running
            if call.key not in self.under_way:
                self.ready[call.key] = call
                heappush(self.queue, (-running.left, -_length(call.prompt), call.key))

    def _submit(self) -> None:
        """Hand over the calls with the longest way to go behind them, of these the longest prompts."""
        room = self.runner.generator.slots - len(self.under_way)
        chosen: list[Call] = []
        while self.queue and len(chosen) < room:
            call = self.ready.pop(heappop(self.queue)[-1], None)
            chosen += [call] if call is not None else []  # it was wanted twice
        if chosen:
            self.under_way.update(call.key for call in chosen)
            self.runner.generator.submit(chosen)

    def _bring_home(self) -> None:
        """Store what is done, and take the jobs that waited for it further."""
        # a backend may still bring what a run asked for that was broken off; nobody waits for it
        made = {key: one for key, one in self.runner.generator.collect() if key in self.waiting}
        users: dict[str, Collection[str]] = {
            key: {running.job.user for running in self.waiting[key].values()} for key in made
        }
        self.runner.store.put_many(made, self.runner.generator.fingerprint, users)
        self.counts.made += Usage.of(made.values())
        kept = made | self.runner.store.get_many(made)  # another process may have stored a text of its own before
        woken: dict[str, _Running] = {}
        for key, generation in kept.items():
            self.under_way.discard(key)
            self.ready.pop(key, None)
            waited = self.waiting.pop(key)
            asked = sum(call.key == key for running in waited.values() for call in running.lacking())
            self.counts.found += Usage.of([generation] * (asked - 1))
            woken |= waited
        # one that is done found the text of another process meanwhile
        moved = [running for running in woken.values() if not running.done and self._settle(running, kept)]
        self._replay(moved)


def _length(prompt: Prompt) -> int:
    return sum(len(piece.text) for piece in (*prompt.system, *prompt.user)) + len(prompt.start)
