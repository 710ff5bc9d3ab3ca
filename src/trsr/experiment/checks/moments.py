"""Does anything come from after the target: the items of a prompt, or the events that models were fitted on?"""

from collections.abc import Mapping, Sequence

import polars as pl

from trsr.data.columns import CUT, EXAMPLE, ORDER, SPLIT, TIME, TRAIN, USER
from trsr.experiment.checks.entry import Entry, entry
from trsr.experiment.tasks import Task, Tasks


def history_before_target(tasks: Tasks, splits: Mapping[str, Sequence[Task]], summaries: pl.DataFrame) -> Entry:
    """Are recent items and summed up blocks a stretch of what the user had before the target, in order and in time?"""
    summed = dict[str, set[tuple[str, ...]]]()
    for example, blocks in summaries.select(EXAMPLE, "blocks").iter_rows():
        summed.setdefault(example, set()).add(tuple(item for block in blocks for item in block))
    wrong = list[str]()
    members = [task for some in splits.values() for task in some]
    for task in members:
        before, shown = tuple(tasks.whole_history(task)), task.request.history
        is_end = before[len(before) - len(shown) :] == shown
        if not is_end or not all(_is_stretch(items, before) for items in summed.get(task.request.example_id, ())):
            wrong.append(task.request.example_id)
    late = _later_than_target(tasks)
    detail = f"{len(wrong)} of {len(members)} prompts hold an item that was not among the events before the target"
    detail += f", {late} targets follow an event with a later time" if tasks.dataset.has_time else "; no event times"
    if wrong:
        detail += f"; the first is example {wrong[0]}"
    if wrong or late:
        detail += "; do not use this run, and make it anew with another --out"
    return entry("prompts hold only what came before the target", not wrong and late == 0, detail)


def fitted_before_target(tasks: Tasks) -> Entry:
    """Did models that are fitted see a target of validation or test, what follows it, or its time?"""
    examples, fitted = tasks.examples, tasks.examples.fit_events
    targets = examples.frame.filter(pl.col(SPLIT) != TRAIN)
    firsts = targets.group_by(USER).agg(pl.col(CUT).min())
    seen = fitted.join(firsts, on=USER).filter(pl.col(ORDER) >= pl.col(CUT)).height
    detail = f"{seen} of {fitted.height} fitted events are a target of validation or test or follow one of their user"
    late = 0
    if tasks.dataset.has_time:
        moments = targets.join(tasks.dataset.interactions, left_on=[USER, CUT], right_on=[USER, ORDER])
        late = fitted.filter(pl.col(TIME) >= moments[TIME].min()).height
        detail += f", {late} are not before the first of these targets in time"
    by_time = examples.by in ("time", "impressions")
    if late and not by_time:
        detail += f" (split by {examples.by}: fitted models know what others liked later; split.by time ends that)"
    good = seen == 0 and (late == 0 or not by_time)
    return entry("fitted events come before the targets", good, detail if good else f"{detail}; do not use this run")


def _is_stretch(items: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[start : start + len(items)] == items for start in range(len(whole) - len(items) + 1))


def _later_than_target(tasks: Tasks) -> int:
    """Targets with an event before them that has a later time."""
    if not tasks.dataset.has_time:
        return 0
    latest = pl.col(TIME).cum_max().over(USER).alias("latest")
    events = tasks.dataset.interactions.select(USER, pl.col(ORDER).alias(CUT), TIME, latest)
    return tasks.examples.frame.join(events, on=[USER, CUT]).filter(pl.col("latest") > pl.col(TIME)).height
