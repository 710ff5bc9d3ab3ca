"""Controls: a model scores some test examples once more, with something exchanged that its ranking should hang on.

- history: the summary, the recent items and the id of another user of the sample;
- texts: every item of the catalogue shown with the text of another one (only for what reads texts when it scores);
- places: the same candidates in another order, of a ranker among fewer.

A ranker scores `checks.control_negatives` of the negatives, a baseline, for which that costs nothing, scores all.

The scores are kept as `controls/MODEL/KIND.parquet` as they are made; `control_results` says what they mean.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from trsr.config import AttentionPath, ExperimentConfig
from trsr.data.columns import TEST
from trsr.data.scoring import RankingRequest, Scorer
from trsr.data.seeds import generator
from trsr.experiment.checks.entry import some_tasks
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.scoring import score_into
from trsr.experiment.tasks import Task, Tasks
from trsr.ranking.ranker import RankerScorer

Kind: TypeAlias = Literal["history", "texts", "places"]
KINDS: tuple[Kind, ...] = ("history", "texts", "places")
Timed: TypeAlias = Callable[[str], AbstractContextManager[None]]

_PLACE_EXAMPLES = 8  # what should stay the same to rounding needs no statistics
_WITHOUT_HISTORY = ("popularity", "recent_popularity")  # by what they are


@dataclass(frozen=True)
class _Sample:
    """Test examples that take part, each with all targets and some or all of the negatives.

    `donors` has for each the place of another user's example, None where there is no other user.
    """

    tasks: Sequence[Task]
    donors: Sequence[int | None]


@dataclass(frozen=True)
class _Shown:
    """What prompts say of items: their rows, and how popular they are where the ranker tells it."""

    catalogue: Mapping[str, Mapping[str, Any]]
    popularity: Mapping[str, int] | None


def score_controls(
    folder: RunFolder, tasks: Tasks, config: ExperimentConfig, name: str, scorer: Scorer, timed: Timed
) -> None:
    """Score the controls of a model as far as that is not done; `timed` adds their seconds to the manifest."""
    reads = isinstance(scorer, RankerScorer)
    kinds = [kind for kind in _kinds(config, name, reads) if not folder.control(name, kind).exists()]
    if not kinds:
        return
    sample = _draw(tasks, config, config.checks.control_negatives if reads else None)
    with timed(f"controls {name}"):
        for kind in kinds:
            exchanged, members = _exchange(kind, scorer, sample, tasks, config.seed)
            score_into(folder.control(name, kind), f"{name}, other {kind}", exchanged, members)


def is_controlled(folder: RunFolder, config: ExperimentConfig, baseline: str) -> bool:
    """Whether the controls of a baseline are scored."""
    return all(folder.control(baseline, kind).exists() for kind in _kinds(config, baseline, reads=False))


def _kinds(config: ExperimentConfig, name: str, reads: bool) -> Sequence[Kind]:
    if config.checks.control_examples == 0:
        return ()
    if reads:
        return KINDS
    return ("history", "places") if name in config.baselines and name not in _WITHOUT_HISTORY else ()


def _draw(tasks: Tasks, config: ExperimentConfig, negatives: int | None) -> _Sample:
    chosen = some_tasks(tasks.of(TEST), config.seed, config.checks.control_examples)
    rng = generator(config.seed, "controls")
    users = [task.request.user_id for task in chosen]
    order = rng.permutation(len(chosen)).tolist()
    place = {index: at for at, index in enumerate(order)}
    donors = [
        next((other for other in order[place[index] :] + order[: place[index]] if users[other] != user), None)
        for index, user in enumerate(users)
    ]
    return _Sample([_smaller(task, negatives, rng) for task in chosen], donors)


def _smaller(task: Task, negatives: int | None, rng: np.random.Generator) -> Task:
    """The task with all targets and so many of its negatives, None for all."""
    labels = np.array(task.labels)
    kept = np.sort(
        np.concatenate([np.flatnonzero(labels == 1), rng.permutation(np.flatnonzero(labels == 0))[:negatives]])
    )
    return _with_candidates(task, kept.tolist())


def _with_candidates(task: Task, places: Sequence[int]) -> Task:
    candidates = tuple(task.request.candidates[place] for place in places)
    return replace(
        task,
        request=replace(task.request, candidates=candidates),
        labels=tuple(task.labels[place] for place in places),
    )


def _exchange(kind: Kind, scorer: Scorer, sample: _Sample, tasks: Tasks, seed: int) -> tuple[Scorer, Sequence[Task]]:
    if kind == "history":
        return _other_histories(scorer, sample, tasks)
    if kind == "texts":
        assert isinstance(scorer, RankerScorer)
        return _anew(scorer, _other_texts(tasks, sample.tasks, seed), scorer.summaries), sample.tasks
    rng = generator(seed, "controls, places")
    members = sample.tasks[:_PLACE_EXAMPLES]
    moved = [_with_candidates(task, rng.permutation(len(task.labels)).tolist()) for task in members]
    return _anew(scorer, tasks, scorer.summaries) if isinstance(scorer, RankerScorer) else scorer, moved


def _other_histories(scorer: Scorer, sample: _Sample, tasks: Tasks) -> tuple[Scorer, list[Task]]:
    pairs = [
        (task, sample.tasks[donor].request)
        for task, donor in zip(sample.tasks, sample.donors, strict=True)
        if donor is not None
    ]
    members = [replace(task, request=_as_if(task.request, donor)) for task, donor in pairs]
    if not isinstance(scorer, RankerScorer):
        return scorer, members
    summaries = {task.request.example_id: scorer.summaries.get(donor.example_id, "") for task, donor in pairs}
    return _anew(scorer, tasks, summaries), members


def _as_if(request: RankingRequest, donor: RankingRequest) -> RankingRequest:
    return replace(request, user_id=donor.user_id, history=donor.history)


def _other_texts(tasks: Tasks, members: Sequence[Task], seed: int) -> _Shown:
    """The items of some requests, each shown as another one: one cycle through the whole catalogue."""
    cycle = generator(seed, "controls, texts").permutation(len(tasks.catalogue))
    following = np.empty_like(cycle)
    following[cycle] = np.roll(cycle, -1)
    ids = list(tasks.catalogue)
    place = {item: at for at, item in enumerate(ids)}
    shown = {item for task in members for item in (*task.request.history, *task.request.candidates)}
    other = {item: ids[following[place[item]]] for item in shown}
    levels = tasks.popularity
    popularity = None if levels is None else {item: levels.get(other[item], 1) for item in shown}
    return _Shown({item: tasks.catalogue[other[item]] for item in shown}, popularity)


def _anew(scorer: RankerScorer, shown: Tasks | _Shown, summaries: Mapping[str, str]) -> RankerScorer:
    """The same ranker on other texts and summaries, with counts and times of its own."""
    path = cast(AttentionPath, scorer.ranker.attention_choice.path)  # not to be measured once more
    ranker = replace(scorer.ranker, attention=path, popularity=shown.popularity)
    return RankerScorer(ranker, ranker.prompts(shown.catalogue), summaries)
