"""The runner: the calls of many users in full batches, each stored the moment it is made."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from trsr.llm.protocol import Decoding, Generation, Generator, Prompt
from trsr.summaries.plan import Plan
from trsr.summaries.store import SummaryStore, call_key

BATCHES_IN_SIGHT = 8


@dataclass(frozen=True)
class Profile:
    """The stored state of a user: the summary, and the text of every call in order, as the summary grew."""

    summary: str
    steps: tuple[str, ...]

    @property
    def calls(self) -> int:
        """How many LLM calls the summary is made of."""
        return len(self.steps)


@dataclass(frozen=True)
class Usage:
    """A number of calls, and the tokens that they read and wrote."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.calls + other.calls, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)


@dataclass(frozen=True)
class SummaryCounts:
    """What a run has done: users finished, calls made, and calls found in the store.

    A call that several users share is made once and found by all but the first.
    """

    users: int = 0
    made: Usage = field(default_factory=Usage)
    found: Usage = field(default_factory=Usage)

    @property
    def total(self) -> Usage:
        """The calls that the summaries are made of, whenever they were made."""
        return self.made + self.found


@dataclass(frozen=True)
class _Call:
    """A prompt, and how many calls of its plan come before it."""

    prompt: Prompt
    depth: int


@dataclass
class _Job:
    """A user whose plan waits for `calls`; `profile` is set when the plan is done."""

    user: str
    plan: Plan
    calls: list[tuple[str, Prompt]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    profile: Profile | None = None


def _ignore(counts: SummaryCounts) -> None:
    pass


class SummaryRunner:
    """Runs the plans of many users on one backend.

    The store is the only memory: what a plan asks for is read from it, what is missing is generated in
    batches and stored at once. So a killed run loses the batch in flight and nothing else, and equal calls,
    of this run or another, are made once. `finish` turns what the model wrote into a step of the summary; the
    store keeps the text before that. `counts` adds up over all runs of a runner.

    A backend's padded arithmetic may let a text depend on what shares its batch. So a batch is a function of the
    plans and of what is stored, and nothing else: a run that was killed goes on with the very batches that it
    would have made.
    """

    def __init__(
        self,
        generator: Generator,
        store: SummaryStore,
        decoding: Decoding,
        finish: Callable[[str], str],
        window: int | None = None,
    ) -> None:
        self.generator = generator
        self.store = store
        self.decoding = decoding
        self.finish = finish
        self.window = window or BATCHES_IN_SIGHT * generator.batch_size
        self.counts = SummaryCounts()
        self._unread: set[str] = set()  # keys made here that no plan has read yet

    def run(
        self, plans: Iterable[tuple[str, Plan]], on_progress: Callable[[SummaryCounts], None] = _ignore
    ) -> Iterator[tuple[str, Profile]]:
        """Yield the profile of every (user, plan), in the order given; take plans as there is room for them.

        At most `window` plans are unfinished at a time; finished ones wait for those before them.
        `on_progress` is called after every batch and whenever the store has been read.
        """
        coming = iter(plans)
        queue: deque[_Job] = deque()
        while True:
            missing = self._fill(queue, coming)
            on_progress(self.counts)
            while queue and (profile := queue[0].profile) is not None:
                yield queue.popleft().user, profile
            if not missing:
                return
            self._make(self._next_batch(missing))
            on_progress(self.counts)

    def _fill(self, queue: deque[_Job], coming: Iterator[tuple[str, Plan]]) -> dict[str, _Call]:
        """Take up plans until `window` of them wait for calls that the store lacks; gives these calls."""
        while True:
            waiting = [job for job in queue if job.profile is None]
            taken = [_Job(user, plan) for user, plan in islice(coming, self.window - len(waiting))]
            for job in taken:
                self._advance(job, None)
            queue.extend(taken)
            missing = self._replay(waiting + taken)
            if not taken and (missing or not waiting):
                return missing

    def _replay(self, jobs: list[_Job]) -> dict[str, _Call]:
        """Take every plan as far as the store goes; the calls that are missing then."""
        missing: dict[str, _Call] = {}
        while jobs := [job for job in jobs if job.profile is None]:
            known = self.store.get_many({key for job in jobs for key, _ in job.calls})
            moved = []
            for job in jobs:
                lacking = {key: _Call(prompt, len(job.steps)) for key, prompt in job.calls if key not in known}
                missing = lacking | missing
                if not lacking:
                    self._advance(job, [self._read(key, known) for key, _ in job.calls])
                    moved.append(job)
            jobs = moved
        return missing

    def _read(self, key: str, known: Mapping[str, Generation]) -> str:
        generation = known[key]
        if key in self._unread:
            self._unread.remove(key)
        else:
            usage = Usage(1, generation.tokens_in, generation.tokens_out)
            self.counts = replace(self.counts, found=self.counts.found + usage)
        return self.finish(generation.text)

    def _advance(self, job: _Job, texts: list[str] | None) -> None:
        """Send a plan the texts it waits for (None starts it) and note what it asks for next."""
        job.steps += texts or []
        try:
            prompts = next(job.plan) if texts is None else job.plan.send(texts)
        except StopIteration as end:
            job.profile = Profile(end.value, tuple(job.steps))
            self.counts = replace(self.counts, users=self.counts.users + 1)
        else:
            job.calls = [(call_key(self.generator.fingerprint, prompt, self.decoding), prompt) for prompt in prompts]

    def _next_batch(self, missing: Mapping[str, _Call]) -> dict[str, Prompt]:
        """Of the calls in sight, those that come first in their plans, the longest of these first.

        So plans move forward together, and a batch is full unless nothing else is left to do.
        """
        calls = sorted(missing.items(), key=lambda call: (call[1].depth, -_length(call[1].prompt), call[0]))
        return {key: call.prompt for key, call in calls[: self.generator.batch_size]}

    def _make(self, batch: Mapping[str, Prompt]) -> None:
        generations = self.generator.generate(list(batch.values()), self.decoding)
        made = dict(zip(batch, generations, strict=True))
        self.store.put_many(made, self.generator.fingerprint)
        self._unread.update(made)
        tokens_in = sum(generation.tokens_in for generation in generations)
        tokens_out = sum(generation.tokens_out for generation in generations)
        self.counts = replace(self.counts, made=self.counts.made + Usage(len(made), tokens_in, tokens_out))


def _length(prompt: Prompt) -> int:
    return sum(len(piece.text) for piece in (*prompt.system, *prompt.user)) + len(prompt.start)
