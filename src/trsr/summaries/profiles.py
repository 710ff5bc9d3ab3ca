"""Profiles kept up to date: who has a new history gets a new summary, everybody else costs one look-up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from trsr.data.histories import History
from trsr.errors import ModelError
from trsr.summaries.counts import SummaryCounts
from trsr.summaries.runner import Profile
from trsr.summaries.store import ProfileRecord
from trsr.summaries.summarizer import Summarizer, Wanted

USERS_AT_ONCE = 2000  # are looked up in one transaction
PROFILES_AT_ONCE = 200  # are stored in one transaction; the calls that they are made of are stored before

T = TypeVar("T")


@dataclass
class Kept:
    """Users looked at so far, those of them whose profile was up to date, and the new versions of the others."""

    users: int = 0
    unchanged: int = 0
    renewed: int = 0


@dataclass(frozen=True)
class Outdated:
    """A user whose stored profile, if there is one, was made from other `inputs`."""

    history: History
    wanted: Wanted
    inputs: str


def outdated(summarizer: Summarizer, method: str, histories: Iterable[History], kept: Kept) -> Iterator[list[Outdated]]:
    """The users whose profile is to be made anew, in the order given and some at a time; counts all in `kept`."""
    for some in _chunks(histories, USERS_AT_ONCE):
        checked = []
        for history in some:
            segments = summarizer.segment(history)
            last_time = history.times[segments.events - 1] if segments.events else None
            inputs = summarizer.inputs(method, segments, last_time)
            checked.append(Outdated(history, Wanted(history.user, history.user, segments), inputs))
        current = summarizer.store.inputs_of([one.history.user for one in checked], method)
        changed = [one for one in checked if current.get(one.history.user) != one.inputs]
        kept.users += len(checked)
        kept.unchanged += len(checked) - len(changed)
        yield changed


def update_profiles(
    summarizer: Summarizer,
    method: str,
    histories: Iterable[History],
    on_progress: Callable[[Kept, SummaryCounts], None] = lambda kept, counts: None,
) -> Kept:
    """Bring the profiles of all users of `histories` up to date in the summariser's store.

    Users whose blocks, item texts and settings are those of their profile cost no call; of the others, calls that
    the store has are not made again. Histories are taken as there is room for them, so memory does not grow with
    their number. Killed at any moment and called again, it loses the calls under way and nothing else.
    """
    kept = Kept()
    under_way: dict[str, Outdated] = {}
    done: list[ProfileRecord] = []

    def store_done() -> None:
        kept.renewed += summarizer.store.put_profiles(done)
        done.clear()

    def wanted() -> Iterator[Wanted]:
        for some in outdated(summarizer, method, histories, kept):
            on_progress(kept, summarizer.counts)
            for one in some:
                under_way[one.wanted.name] = one
                yield one.wanted

    try:
        for one, profile in summarizer.summaries(method, wanted(), lambda counts: on_progress(kept, counts)):
            done.append(_record(under_way.pop(one.name), method, profile, summarizer.generator.fingerprint))
            if len(done) >= PROFILES_AT_ONCE:
                store_done()
    except (KeyboardInterrupt, ModelError):
        store_done()
        raise
    store_done()
    return kept


def _record(one: Outdated, method: str, profile: Profile, model: str) -> ProfileRecord:
    segments, history = one.wanted.segments, one.history
    last = segments.events - 1
    return ProfileRecord(
        user=history.user,
        method=method,
        events=segments.events,
        last_item=history.items[last] if segments.events else None,
        last_time=history.times[last] if segments.events else None,
        inputs=one.inputs,
        blocks=segments.blocks,
        steps=profile.steps,
        summary=profile.summary,
        model="" if method == "extractive" else model,
        calls=profile.keys,
    )


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
