"""Is a target named in its own prompt, and were prompts shortened?"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trsr.experiment.checks.entry import Entry, entry
from trsr.experiment.shown import Shown
from trsr.experiment.tasks import Task, Tasks
from trsr.prompts.inert import make_inert

_SHORTEST = 4  # shorter titles and ids are found in any text


def named_targets(
    tasks: Tasks,
    split: str,
    members: Sequence[Task],
    summaries: Mapping[str, str],
    method: str,
    shown_items: Shown,
) -> Entry:
    """Is a target's id or first attribute in the summary or in the text of the recent items of its prompt?"""
    title_of = tasks.dataset.attributes[0]
    fresh = repeated = 0
    for task in members:
        summary = summaries.get(task.request.example_id, "")
        recent = shown_items(task, summary)
        shown = [str(tasks.catalogue[item][name] or "") for item in recent for name in tasks.dataset.attributes]
        prefix = _plain(" | ".join([summary, *shown]))
        named = [
            target
            for target in task.targets
            if target in recent or _is_named(prefix, str(tasks.catalogue[target][title_of] or ""), target)
        ]
        is_repeat = bool(named) and set(named) <= set(tasks.whole_history(task))
        repeated += is_repeat
        fresh += bool(named) and not is_repeat
    detail = (
        f"{fresh} of {len(members)} prefixes hold the {title_of} or id of a target that is new to the user, "
        f"{repeated} of one that repeats"
    )
    return entry(f"the target is not in its own prompt ({method}, {split})", fresh == 0, detail)


def _is_named(prefix: str, title: str, target: str) -> bool:
    title, target_id = _plain(title), _plain(target)
    if len(title) >= _SHORTEST and title in prefix:
        return True
    return len(target_id) >= _SHORTEST and bool(re.search(rf"(?<!\w){re.escape(target_id)}(?!\w)", prefix))


def _plain(text: str) -> str:
    return make_inert(text).casefold()


def shortened(name: str, counts: Mapping[str, Any]) -> Entry:
    """Did recent items or summaries give way for want of room? Item texts that were cut are told."""
    cut = counts.get("prompts_shortened")  # an earlier version did not count them
    share = "" if cut is None else f"{cut / counts['prompts']:.0%} of prompts are shortened: "
    return entry(
        f"recent items and summaries have room ({name})",
        counts["prompts_with_recent_items_dropped"] == counts["summaries_shortened"] == 0,
        f"{share}{counts['items_shortened']} item texts and "
        f"{counts['summaries_shortened']} summaries cut, {counts['recent_items_dropped']} recent items dropped; "
        f"longest prompt {counts['longest_prompt']} tokens",
    )
