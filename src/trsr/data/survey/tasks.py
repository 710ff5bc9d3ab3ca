"""Which prediction tasks the data allows: examples by split, and negatives to stand beside targets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trsr.config import CandidateConfig, DataConfig, SplitConfig
from trsr.data.events import MICROSECONDS
from trsr.data.survey.coded import CodedEvents

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SplitCounts:
    """Users with an example in each split, before `max_train` and the like take some of them."""

    train: int
    valid: int
    test: int

    @property
    def least(self) -> int:
        """The smallest of the three."""
        return min(self.train, self.valid, self.test)


@dataclass(frozen=True)
class TaskSurvey:
    """What examples there would be; `by` is the protocol that the settings mean, `by_time` is None without time.

    `users_with_enough` have more than `min_history` events. `users_without_negatives` have had so many of the items
    (`most_distinct_items` is the most that a user had) that fewer are left than the `negatives` that are wanted.
    """

    by: str
    min_history: int
    users_with_enough: int
    by_time: SplitCounts | None
    by_last: SplitCounts
    by_users: SplitCounts
    negatives: int
    most_distinct_items: int
    users_without_negatives: int


def survey_tasks(events: CodedEvents, data: DataConfig, split: SplitConfig, candidates: CandidateConfig) -> TaskSurvey:
    """Count what `make_examples` and `sample_candidates` would find."""
    lengths = events.history_lengths
    wanted = max(candidates.negatives, candidates.train_negatives)
    distinct = _distinct_items(events)
    return TaskSurvey(
        by=split.by if split.by != "auto" else "last" if events.moment is None else "time",
        min_history=data.min_history,
        users_with_enough=int((lengths > data.min_history).sum()),
        by_time=_by_time(events, split, data.min_history),
        by_last=SplitCounts(*(int((lengths - left >= data.min_history).sum()) for left in (3, 2, 1))),
        by_users=_by_users(int((lengths > data.min_history).sum()), split),
        negatives=wanted,
        most_distinct_items=int(distinct.max()),
        users_without_negatives=int((distinct + wanted > len(events.items)).sum()),
    )


def _distinct_items(events: CodedEvents) -> npt.NDArray[np.int64]:
    """Distinct items of every user."""
    if not events.report.kept_repeats:
        return events.history_lengths
    pairs = events.user.astype(np.uint64) << np.uint64(32) | events.item
    pairs.sort()  # several times as fast as np.unique
    is_new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    return np.bincount(events.user[is_new], minlength=len(events.users)).astype(np.int64)


def _by_time(events: CodedEvents, split: SplitConfig, min_history: int) -> SplitCounts | None:
    if events.moment is None:
        return None
    seconds = events.moment // MICROSECONDS
    size = seconds.size
    first_test = size - max(1, round(split.test * size))
    first_valid = max(0, first_test - max(1, round(split.valid * size)))
    ordered = np.partition(seconds, (first_valid, first_test))
    enough = events.orders >= min_history
    is_test, is_late = seconds >= ordered[first_test], seconds >= ordered[first_valid]
    return SplitCounts(*(_users(events, enough & part) for part in (~is_late, is_late & ~is_test, is_test)))


def _by_users(enough: int, split: SplitConfig) -> SplitCounts:
    """About how many of the users with enough events each split gets; which ones is drawn when a run begins."""
    test, valid = round(split.test * enough), round(split.valid * enough)
    return SplitCounts(max(enough - test - valid, 0), valid, test)


def _users(events: CodedEvents, chosen: Bools) -> int:
    found = np.zeros(len(events.users), np.bool_)
    found[events.user[chosen]] = True
    return int(found.sum())
