"""A target that is known from its twin, or that lies before what the prompt or a fitted model holds, is found."""

from dataclasses import replace

import polars as pl
import pytest

from experiment.wordy_shop import with_history, with_items, wordy_tasks
from trsr.config import PromptConfig
from trsr.data.columns import TEST, TRAIN, VALID
from trsr.experiment.checks.moments import fitted_before_target, history_before_target
from trsr.experiment.checks.near_duplicates import (
    SomeTasks,
    targets_in_summaries,
    twins_as_negatives,
    twins_in_history,
)
from trsr.summaries.export import SCHEMA

PROMPT = PromptConfig(recent_items=2)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return wordy_tasks(tmp_path_factory.mktemp("wordy") / "shop")


def twin(tasks, item, change):
    """The same product under another id."""
    row = tasks.catalogue[item] | {"item_id": f"twin-of-{item}"}
    return (
        row
        | {
            "same title": {"title": f"  {row['title'].upper()}! ", "about": "another text"},
            "same text": {"title": f"New {row['title'].partition(' ')[2]}"},
            "other": {"title": f"New {row['title'].partition(' ')[0]}", "about": row["about"][:30]},
        }[change]
    )


def with_twins(tasks, change):
    members = tasks.of(TEST)
    wanted = {task.targets[0] for task in members}
    return with_items(tasks, [twin(tasks, item, change) for item in sorted(wanted)])


def looked(line):
    assert line["result"] == "look", line
    return line["detail"]


def some(tasks, members, blocks=None):
    return SomeTasks(tasks, TEST, members, blocks or {}, seed=1)


def test_a_shop_of_different_items_has_no_twins(tasks):
    members = tasks.of(TEST)
    blocks = {task.request.example_id: list(task.request.history) for task in members}
    for line in (twins_in_history(some(tasks, members, blocks), PROMPT), twins_as_negatives(some(tasks, members))):
        assert line["result"] == "ok", line
        assert line["detail"].startswith(f"0 of {len(members)} ")


@pytest.mark.parametrize("change", ["same title", "same text"])
def test_a_target_under_another_id_among_the_recent_items_is_found(tasks, change):
    tasks = with_twins(tasks, change)
    members = tasks.of(TEST)
    planted = [
        with_history(task, *task.request.history[:-1], f"twin-of-{task.targets[0]}") if place % 2 else task
        for place, task in enumerate(members)
    ]
    detail = looked(twins_in_history(some(tasks, planted), PROMPT))
    assert detail.startswith(f"{len(members) // 2} of {len(members)} targets have one among the recent items")
    assert f"target {members[1].targets[0]} and twin-of-{members[1].targets[0]}; merge such items" in detail


def test_a_variant_that_says_something_else_is_no_twin(tasks):
    tasks = with_twins(tasks, "other")
    planted = [with_history(task, f"twin-of-{task.targets[0]}") for task in tasks.of(TEST)]
    assert twins_in_history(some(tasks, planted), PROMPT)["result"] == "ok"


def test_a_target_under_another_id_among_the_summed_up_items_is_found(tasks):
    tasks = with_twins(tasks, "same title")
    members = tasks.of(TEST)
    blocks = {task.request.example_id: [f"twin-of-{task.targets[0]}"] for task in members}
    detail = looked(twins_in_history(some(tasks, members, blocks), PROMPT))
    assert f"0 of {len(members)} targets" in detail
    assert f"{len(members)} among the items that were summed up" in detail


def test_items_without_any_text_are_no_twins(tasks):
    nothing = [{"item_id": f"blank-{number}", "title": "", "about": ""} for number in range(2)]
    tasks = with_items(tasks, nothing)
    task = tasks.of(TEST)[0]
    request = replace(task.request, history=("blank-0",), candidates=("blank-1", *task.request.candidates))
    blank = replace(task, request=request, labels=(1, *[0 for _ in task.labels]))
    assert twins_in_history(some(tasks, [blank]), PROMPT)["result"] == "ok"


def test_a_second_target_of_an_example_is_looked_for_too(tasks):
    tasks = with_twins(tasks, "same title")
    members = tasks.of(TEST)
    other = members[1].targets[0]
    first = members[0]
    request = replace(first.request, candidates=(*first.request.candidates, other), history=(f"twin-of-{other}",))
    both = replace(first, request=request, labels=(*first.labels, 1))
    assert looked(twins_in_history(some(tasks, [both]), PROMPT)).startswith("1 of 1 ")


def test_a_target_that_the_user_had_before_is_left_to_the_count_of_repeats(tasks):
    tasks = with_twins(tasks, "same title")
    task = tasks.of(TEST)[0]
    repeated = replace(task, cut=task.cut + 1)
    assert task.targets[0] in tasks.whole_history(repeated)
    planted = with_history(repeated, f"twin-of-{task.targets[0]}")
    assert twins_in_history(some(tasks, [planted]), PROMPT)["result"] == "ok"


def test_a_negative_that_is_the_target_under_another_id_is_found(tasks):
    tasks = with_twins(tasks, "same text")
    planted = []
    for task in tasks.of(TEST):
        place = task.labels.index(0)
        candidates = list(task.request.candidates)
        candidates[place] = f"twin-of-{task.targets[0]}"
        planted.append(replace(task, request=replace(task.request, candidates=tuple(candidates))))
    detail = looked(twins_as_negatives(some(tasks, planted)))
    assert detail.startswith(
        f"{len(planted)} of {len(planted)} examples have a negative that nearly repeats the target"
    )


def summaries_of(tasks, members, say):
    return {task.request.example_id: say(tasks.catalogue[task.targets[0]]) for task in members}


@pytest.mark.parametrize(
    ("say", "good"),
    [
        (lambda row: f"Likes, it seems: {row['about'].upper()}.", False),
        (lambda row: f"Likes {row['title']} {row['about'][:90]} and so on", False),
        (lambda row: f"Likes {' '.join(sorted(row['about'].split()))}", True),
        (lambda row: f"Likes {row['about'][:40]}", True),
        (lambda row: "Likes what is well written", True),
        (lambda row: "", True),
    ],
)
def test_a_summary_that_nearly_holds_the_text_of_the_target_is_found(tasks, say, good):
    members = tasks.of(TEST)
    line = targets_in_summaries(some(tasks, members), summaries_of(tasks, members, say), "recurrent")
    assert line["result"] == ("ok" if good else "look"), line
    assert line["check"] == "no summary nearly holds the target (recurrent, test)"
    assert line["detail"].startswith("0 of" if good else f"{len(members)} of {len(members)} summaries hold")


def summaries_frame(tasks, members, blocks):
    rows = [
        (task.request.example_id, task.request.user_id, "recurrent", "text", blocks(task), ["text"], 1)
        for task in members
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def in_blocks(items):
    return [list(items[:2]), list(items[2:])]


def test_prompts_and_fitted_events_of_a_clean_split_come_before_the_targets(tasks):
    splits = {split: tasks.of(split) for split in (TRAIN, VALID, TEST)}
    whole = [task for members in splits.values() for task in members]
    frame = summaries_frame(tasks, whole, lambda task: in_blocks(tasks.whole_history(task)))
    line = history_before_target(tasks, splits, frame)
    assert line["result"] == "ok"
    assert line["detail"] == (
        f"0 of {len(whole)} prompts hold an item that was not among the events before the target, "
        "0 targets follow an event with a later time"
    )
    fitted = fitted_before_target(tasks)
    assert fitted["result"] == "ok"
    assert ", 0 are not before the first of these targets in time" in fitted["detail"]


@pytest.mark.parametrize("what", ["target in a block", "events out of order", "target in the recent items"])
def test_a_prompt_that_holds_what_came_later_is_found(tasks, what):
    members = tasks.of(TEST)
    blocks = {
        "target in a block": lambda task: [*in_blocks(tasks.whole_history(task)), [task.targets[0]]],
        "events out of order": lambda task: in_blocks(tasks.whole_history(task)[::-1]),
        "target in the recent items": lambda task: [],
    }[what]
    frame = summaries_frame(tasks, members, blocks)
    if what == "target in the recent items":
        members = [with_history(task, *task.request.history, task.targets[0]) for task in members]
    detail = looked(history_before_target(tasks, {TEST: members}, frame))
    assert detail.startswith(f"{len(members)} of {len(members)} prompts hold an item")
    assert f"; the first is example {members[0].request.example_id}; do not use this run" in detail


def test_an_event_later_than_the_target_that_follows_it_is_found(tasks):
    events = tasks.dataset.interactions.with_columns(
        pl.when(pl.col("order") == 0).then(2_000_000).otherwise(pl.col("timestamp")).alias("timestamp")
    )
    bent = replace(tasks, dataset=replace(tasks.dataset, interactions=events))
    detail = looked(history_before_target(bent, {}, pl.DataFrame(schema=SCHEMA)))
    assert f", {len(tasks.examples.frame)} targets follow an event with a later time" in detail


def test_fitted_events_that_reach_into_the_test_are_found(tasks):
    leaking = replace(tasks, examples=replace(tasks.examples, fit_events=tasks.dataset.interactions))
    detail = looked(fitted_before_target(leaking))
    assert not detail.startswith("0 of")
    assert detail.endswith("do not use this run")


def test_another_users_event_at_the_moment_of_the_first_target_is_found_under_a_time_split(tasks):
    fitted = tasks.examples.fit_events
    strangers = fitted.head(1).with_columns(user_id=pl.lit("stranger"), timestamp=pl.lit(10**6, pl.Int64))
    leaking = replace(tasks, examples=replace(tasks.examples, fit_events=pl.concat([fitted, strangers])))
    detail = looked(fitted_before_target(leaking))
    assert detail.startswith("0 of ")
    assert ", 1 are not before the first of these targets in time; do not use" in detail


def test_a_split_that_is_not_by_time_is_told_what_fitted_models_know(tmp_path):
    line = fitted_before_target(wordy_tasks(tmp_path / "shop", split={"by": "last"}))
    assert line["result"] == "ok"
    assert line["detail"].startswith("0 of ")
    assert line["detail"].endswith(
        "(split by last: fitted models know what others liked later; split.by time ends that)"
    )
