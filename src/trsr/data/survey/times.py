"""When events happened, and whether their times can be believed as an order."""

from dataclasses import dataclass

import numpy as np

from trsr.data.events import MICROSECONDS
from trsr.data.survey.coded import CodedEvents

DAY = 86_400
SPANS = 24


@dataclass(frozen=True)
class TimeSurvey:
    """Real times of events; `first` and `last` in seconds since 1970.

    Shares are None where there is nothing to count. `same_second` is the share of neighbouring events of a user that
    have the same second, `within_a_day` the share of users of two or more events whose events all lie within 24
    hours, `at_once` the share of these users whose events all have one moment. `events_over_time` counts events in
    equal spans from the first to the last.
    """

    first: int
    last: int
    same_second: float | None
    within_a_day: float | None
    at_once: float | None
    users_at_once: int
    events_over_time: list[int]


def survey_times(events: CodedEvents) -> TimeSurvey | None:
    """What the times say, None where events have none."""
    if events.moment is None:
        return None
    seconds = events.moment // MICROSECONDS
    several = events.history_lengths > 1
    begins = events.starts
    ends = begins + events.history_lengths - 1
    moments = (events.moment[ends] - events.moment[begins])[several]
    neighbours = events.user[1:] == events.user[:-1]
    together = (seconds[1:] == seconds[:-1]) & neighbours
    first, last = int(seconds.min()), int(seconds.max())
    spans, _ = np.histogram(seconds, bins=SPANS, range=(first, max(last, first + 1)))
    return TimeSurvey(
        first=first,
        last=last,
        same_second=_share(int(together.sum()), int(neighbours.sum())),
        within_a_day=_share(int((moments < DAY * MICROSECONDS).sum()), moments.size),
        at_once=_share(int((moments == 0).sum()), moments.size),
        users_at_once=int((moments == 0).sum()),
        events_over_time=[int(count) for count in spans],
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
