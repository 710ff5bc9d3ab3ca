"""Is a target known from its twin: the same product under another id in the history, in a summary, or as a negative?

Two items are near duplicates where their titles (the first attribute) are equal once normalised, or where their texts
share most shingles of three words, as `trsr data check` has it (`trsr.data.survey.minhash`).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import polars as pl

from trsr.config import PromptConfig
from trsr.data.columns import EXAMPLE, ITEM
from trsr.data.dataset import Dataset
from trsr.data.seeds import generator
from trsr.data.survey.duplicates import compared_text
from trsr.data.survey.minhash import SIMILAR, hash_functions, shingles, signatures
from trsr.data.survey.wording import as_text, normalised
from trsr.experiment.checks.entry import TOLERATED, Entry, entry
from trsr.experiment.tasks import Task, Tasks

_FEWEST_SHINGLES = 2  # one alone is found in any text
_PAIRS_AT_ONCE = 100_000

Twin = tuple[str, str, str]
"""An example, its target, and the near duplicate."""

Hashes = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


class ItemWording:
    """Titles and texts of the items of a dataset, in the form in which they are compared."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self._dataset = dataset
        self._functions = hash_functions(generator(seed, "near duplicates"))

    def near(self, first: Sequence[str], second: Sequence[str]) -> Bools:
        """Which pairs of two different items are near duplicates; items without text are not."""
        if not first:
            return np.zeros(0, dtype=np.bool_)
        code = {item: place for place, item in enumerate(dict.fromkeys([*first, *second]))}
        words = self.words(pl.Series(ITEM, list(code)))
        signed = signatures(words["text"], self._functions)
        here, there = (np.array([code[item] for item in side]) for side in (first, second))
        titles, texts = (words[name].to_numpy() for name in ("title", "text"))
        found = np.empty(len(first), dtype=np.bool_)
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            one, other = here[start : start + _PAIRS_AT_ONCE], there[start : start + _PAIRS_AT_ONCE]
            same_title = (titles[one] == titles[other]) & (titles[one] != "")
            alike = (signed[one] == signed[other]).mean(axis=1) >= SIMILAR
            same_text = alike & (texts[one] != "") & (texts[other] != "")
            found[start : start + _PAIRS_AT_ONCE] = (same_title | same_text) & (one != other)
        return found

    def words(self, items: pl.Series) -> pl.DataFrame:
        """`title` and `text` of some items, normalised, in the order given."""
        attributes = self._dataset.attributes
        rows = items.to_frame(ITEM).join(self._dataset.items, on=ITEM, how="left", maintain_order="left")
        texts = as_text(rows, attributes)
        return texts.select(
            normalised(pl.col(attributes[0])).alias("title"), compared_text(list(attributes)).alias("text")
        )


class SomeTasks:
    """Tasks of one split with what is compared of them; `blocks` are the summed up items by example id."""

    def __init__(
        self, tasks: Tasks, split: str, members: Sequence[Task], blocks: Mapping[str, Sequence[str]], seed: int
    ) -> None:
        self.tasks, self.split, self.members, self.blocks = tasks, split, members, blocks
        self.wording = ItemWording(tasks.dataset, seed)

    @cached_property
    def new_targets(self) -> list[list[str]]:
        """The targets of every task that the user had not had."""
        return [[item for item in task.targets if item not in self.tasks.whole_history(task)] for task in self.members]

    def twins(self, others: Iterable[Sequence[str]]) -> list[Twin]:
        """One near duplicate of a new target among some items of each task, where there is one."""
        pairs = [
            (task.request.example_id, target, item)
            for task, new, items in zip(self.members, self.new_targets, others, strict=True)
            for target in new
            for item in dict.fromkeys(items)
        ]
        near = self.wording.near([target for _, target, _ in pairs], [item for _, _, item in pairs])
        found = {pairs[place][0]: pairs[place] for place in np.flatnonzero(near)[::-1]}
        return list(found.values())[::-1]


def twins_in_history(some: SomeTasks, config: PromptConfig) -> Entry:
    """Is a near duplicate of a target among the recent items of its prompt, or among those that were summed up?"""
    recent = some.twins(config.latest(task.request.history) for task in some.members)
    summed = some.twins(some.blocks.get(task.request.example_id, ()) for task in some.members)
    detail = f"{len(recent)} of {len(some.members)} targets have one among the recent items of their prompt"
    if some.blocks:
        detail += f", {len(summed)} among the items that were summed up"
    return _twin_entry(f"no history holds the target under another id ({some.split})", some, recent + summed, detail)


def twins_as_negatives(some: SomeTasks) -> Entry:
    """Is a negative a near duplicate of the target, so that the right answer counts as wrong?"""
    offered = (
        [item for item, label in zip(task.request.candidates, task.labels, strict=True) if label == 0]
        for task in some.members
    )
    found = some.twins(offered)
    detail = f"{len(found)} of {len(some.members)} examples have a negative that nearly repeats the target"
    return _twin_entry(f"no negative is the target under another id ({some.split})", some, found, detail)


def _twin_entry(check: str, some: SomeTasks, found: list[Twin], detail: str) -> Entry:
    share = len({example for example, _, _ in found}) / max(len(some.members), 1)
    if found:
        example, target, twin = found[0]
        detail += f"; example {example}: target {target} and {twin}"
    if share > TOLERATED:
        detail += "; merge such items, or give them an attribute that tells them apart, and import anew"
    return entry(check, share <= TOLERATED, detail)


def targets_in_summaries(some: SomeTasks, summaries: Mapping[str, str], method: str) -> Entry:
    """Does a summary hold nearly all shingles of a new target's title or text?"""
    asked = [
        (summaries[task.request.example_id], target)
        for task, new in zip(some.members, some.new_targets, strict=True)
        if summaries.get(task.request.example_id)
        for target in new
    ]
    held = _held(some.wording, asked)
    share = sum(held) / max(len(some.members), 1)
    detail = f"{sum(held)} of {len(asked)} summaries hold at least {SIMILAR:.0%} of the title or text of a new target"
    if share > TOLERATED:
        detail += (
            "; look whether they were made of events after the target, or whether items that nearly repeat each "
            "other should be merged"
        )
    return entry(f"no summary nearly holds the target ({method}, {some.split})", share <= TOLERATED, detail)


def _held(wording: ItemWording, asked: Sequence[tuple[str, str]]) -> list[bool]:
    if not asked:
        return []
    summaries = pl.DataFrame({"summary": [summary for summary, _ in asked]}).select(normalised(pl.col("summary")))
    words = wording.words(pl.Series(ITEM, [target for _, target in asked]))
    said = _shingle_sets(summaries["summary"])
    wanted = [_shingle_sets(words[name]) for name in ("title", "text")]
    return [any(_share_held(part[place], said[place]) >= SIMILAR for part in wanted) for place in range(len(asked))]


def _shingle_sets(texts: pl.Series) -> list[Hashes]:
    hashes, counts = shingles(texts)
    return [hashes[end - count : end] for count, end in zip(counts, accumulate(counts.tolist()), strict=True)]


def _share_held(wanted: Hashes, said: Hashes) -> float:
    return float(np.isin(wanted, said).mean()) if len(wanted) >= _FEWEST_SHINGLES else 0.0


def blocks_by_example(summaries: pl.DataFrame) -> dict[str, list[str]]:
    """The items of the blocks of all methods by example id."""
    found: dict[str, list[str]] = {}
    for example, blocks in summaries.select(EXAMPLE, "blocks").iter_rows():
        found.setdefault(example, []).extend(item for block in blocks for item in block)
    return found
