"""What bringing profiles up to date would cost, before any of it is spent.

A user of whom the store has no call is counted by walking through their plan with sizes for prompts. For any other the
run itself is rehearsed: calls that the store has are found, and for those that it lacks a filler of the expected
length is taken, so that what depends on them is counted as missing, too.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trsr.data.histories import History
from trsr.llm.protocol import Call, Generation, Piece, Prompt
from trsr.summaries.counts import Usage
from trsr.summaries.plan import Plan
from trsr.summaries.profiles import Kept, Outdated, outdated
from trsr.summaries.quality import Examined
from trsr.summaries.runner import Job, Judge, SummaryRunner
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer

_FILLER = "\ue0a3"  # begins a text that no model wrote
_NOTHING = Prompt((), ())


@dataclass(frozen=True)
class Estimate:
    """Users, those of them without a change, and the calls and tokens that the others take.

    A text is taken to have `written` tokens, the mean of the model's texts in the store, or where it has none the most
    that it may have. Calls that turn out equal to those of other users, and second attempts, are not foreseen.
    """

    users: int
    unchanged: int
    usage: Usage
    written: float

    def cost(self, price_in: float, price_out: float) -> float:
        """What it costs at prices for a million tokens read and written."""
        return (self.usage.tokens_in * price_in + self.usage.tokens_out * price_out) / 1e6


def estimate_update(
    summarizer: Summarizer,
    method: str,
    histories: Iterable[History],
    on_progress: Callable[[Kept], None] = lambda kept: None,
) -> Estimate:
    """What `update_profiles` would take; nothing is written or asked of the backend."""
    kept = Kept()
    if method == "extractive":
        for _ in outdated(summarizer, method, histories, kept):
            on_progress(kept)
        return Estimate(kept.users, kept.unchanged, Usage(), 0)
    written = summarizer.store.tokens_written(summarizer.generator.fingerprint) or summarizer.config.max_new_tokens
    sizes, usage = _Sizes(summarizer, round(written)), Usage()
    for some in outdated(summarizer, method, histories, kept):
        known = summarizer.store.known_users([one.history.user for one in some])
        usage += _rehearse(summarizer, method, [one for one in some if one.history.user in known], round(written))
        for one in some:
            if one.history.user not in known:
                _walk(summarizer.plan(method, one.wanted.segments.blocks, sizes))
        on_progress(kept)
    return Estimate(kept.users, kept.unchanged, usage + sizes.usage, written)


def _walk(plan: Plan) -> None:
    """Lead a plan to its end with any texts."""
    texts: list[str] | None = None
    while True:
        try:
            wave = next(plan) if texts is None else plan.send(texts)
        except StopIteration:
            return
        texts = ["-"] * len(wave.requests)


class _Sizes:
    """Takes the place of prompts and adds up what they would be."""

    def __init__(self, summarizer: Summarizer, written: int) -> None:
        self._prompts, self._written, self.fan_in = summarizer.prompts, written, summarizer.prompts.fan_in
        self._frames = {part: self._prompts.frame_tokens(part) for part in ("block", "update", "merge")}
        self._tokens_of: dict[str, int] = {}
        self._summary = min(self._prompts.start_tokens + written, self._prompts.summary_tokens)
        self.usage = Usage()

    def block(self, items: Sequence[str]) -> Prompt:
        """Count the prompt of a block."""
        return self._count("block", map(self._item, items), len(items))

    def update(self, summary: str, items: Sequence[str]) -> Prompt:
        """Count the prompt of an update."""
        return self._count("update", (self._summary, *map(self._item, items)), len(items))

    def merge(self, summaries: Sequence[str]) -> Prompt:
        """Count the prompt of a merge."""
        return self._count("merge", [self._summary] * len(summaries), len(summaries))

    def _count(self, part: str, tokens: Iterable[int], texts: int) -> Prompt:
        frame, each = self._frames[part]
        self.usage += Usage(1, frame + texts * each + sum(tokens), self._written)
        return _NOTHING

    def _item(self, item: str) -> int:
        if item not in self._tokens_of:
            self._tokens_of[item] = self._prompts.item_tokens(item)
        return self._tokens_of[item]


def _rehearse(summarizer: Summarizer, method: str, some: Sequence[Outdated], written: int) -> Usage:
    """The calls that the store lacks for these users."""

    def examine(prompt: Prompt, generation: Generation) -> Examined:
        if generation.text.startswith(_FILLER):
            return Examined(summarizer.prompts.finish(generation.text), ())
        return summarizer.judge.examine(prompt, generation)

    judge = Judge(examine, summarizer.judge.retry, summarizer.judge.stand_in)
    rehearsal = _Rehearsal(summarizer, written)
    runner = SummaryRunner(rehearsal, _Beside(summarizer.store), summarizer.decoding, judge)
    jobs = (Job(one.wanted.name, one.history.user, summarizer.plan(method, one.wanted.segments.blocks)) for one in some)
    for _ in runner.run(jobs):
        pass
    return runner.counts.made


class _Beside:
    """The calls of a store and those of a rehearsal, which leave no trace in it."""

    def __init__(self, store: SummaryStore) -> None:
        self._store = store
        self._own: dict[str, Generation] = {}

    def get_many(self, keys: Collection[str]) -> dict[str, Generation]:
        """What is stored or was rehearsed."""
        own = {key: self._own[key] for key in keys if key in self._own}
        return own | self._store.get_many([key for key in keys if key not in own])

    def put_many(
        self, generations: Mapping[str, Generation], model: str, users: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """Remember what was rehearsed."""
        self._own |= generations

    def put_users(self, users: Mapping[str, Collection[str]]) -> None:
        """Remember nothing."""


class _Rehearsal:
    """A backend that writes filler, another one for every call, and counts the tokens of prompts."""

    def __init__(self, summarizer: Summarizer, written: int) -> None:
        self.fingerprint, self.slots = summarizer.generator.fingerprint, 1000
        self._chat, self._written = summarizer.chat, written
        self._submitted: list[Call] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Take up calls."""
        self._submitted += calls

    def collect(self) -> list[tuple[str, Generation]]:
        """Filler for all of them."""
        calls, self._submitted = self._submitted, []
        return [(call.key, self._fill(call)) for call in calls]

    def close(self) -> None:
        """Nothing is held."""

    def _fill(self, call: Call) -> Generation:
        name = f"{_FILLER}{call.key[:12]}"
        rest = self._written - len(self._chat.encode_piece(Piece(name, False)))
        return Generation(name + " and" * rest, len(self._chat.encode_prompt(call.prompt)), self._written)
