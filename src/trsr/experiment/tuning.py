"""What an experiment trains a ranker on, and what it keeps of the training."""

import shutil
from collections.abc import Mapping, Sequence

from trsr.config import TrainingConfig
from trsr.data.columns import TEST, VALID
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.tasks import Task
from trsr.prompts.ranking import RankingPrompts
from trsr.ranking.batches import LabelledPrompt
from trsr.ranking.checkpoint import TrainingLog
from trsr.ranking.ranker import Ranker
from trsr.ranking.training import trained_state


def label(tasks: Sequence[Task], prompts: RankingPrompts, summaries: Mapping[str, str]) -> list[LabelledPrompt]:
    """The prompts of tasks with the labels of their candidates; `summaries` are by example id."""

    def one(task: Task) -> LabelledPrompt:
        request = task.request
        summary = summaries.get(request.example_id, "")
        return LabelledPrompt(prompts.build(summary, request.history, request.candidates), task.labels)

    return [one(task) for task in tasks]


def keep_tuned(
    folder: RunFolder, name: str, tuned: Ranker, log: TrainingLog, prompts: RankingPrompts, config: TrainingConfig
) -> None:
    """Save a tuned ranker and its log in the run folder, and remove what is of no use any more."""
    state = trained_state(log)
    tuned.save_pretrained(
        folder.adapter(name),
        {"Data": folder.read_manifest()["data"], "Training": {**state, **config.model_dump()}},
    )
    folder.update_manifest(training={name: {**state, "prompts": prompt_counts(prompts)}})
    folder.write_json(f"training/{name}.json", log.as_dict())  # last, for it says that all of this is done
    shutil.rmtree(folder.checkpoints(name), ignore_errors=True)  # DeepSpeed writes none
    for split in (VALID, TEST):  # what follows is of an earlier ranker of this name
        folder.scores(name, split).unlink(missing_ok=True)
        shutil.rmtree(folder.score_parts(name, split), ignore_errors=True)
    shutil.rmtree(folder.controls(name), ignore_errors=True)


def prompt_counts(prompts: RankingPrompts) -> dict[str, int]:
    """What happened to prompts and to the items in them."""
    return {**prompts.counts.as_dict(), "items_shortened": len(prompts.items.shortened)}
