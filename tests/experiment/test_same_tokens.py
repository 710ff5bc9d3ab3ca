"""What is trained on is what is scored: one builder, the same ids for the same user, summary and candidates."""

import pytest

from experiment.tiny_shop import config_of, make_base, make_shop
from trsr.experiment import run as run_module
from trsr.experiment.run import run_experiment
from trsr.experiment.run_folder import RunFolder
from trsr.ranking.ranker import Ranker


class Captured(Exception):  # noqa: N818 - it ends a run on purpose
    pass


def test_a_training_prompt_is_the_prompt_that_scoring_would_make(tmp_path, monkeypatch):
    """A ranker tuned on other ids than it is scored on loses what it learnt, and no metric says why."""
    config = config_of(make_base(tmp_path / "base"), make_shop(tmp_path / "shop"), methods=["recurrent"])
    trained, scored, score = [], [], Ranker.score

    def capture(ranker, examples, validation, *_):
        trained.extend(examples + validation)
        raise Captured

    def watched(self, prompts):
        scored.extend(prompts)
        return score(self, scored)

    monkeypatch.setattr(run_module, "train", capture)
    with pytest.raises(Captured):
        run_experiment(config, tmp_path / "run")
    experiment = run_module._Experiment(config, RunFolder(tmp_path / "run"))
    tasks = [task for split in ("train", "valid") for task in experiment.tasks.of(split)]
    summaries = experiment._summaries()["recurrent"]
    monkeypatch.setattr(Ranker, "score", watched)
    prompts = experiment.ranker.prompts(experiment.tasks.catalogue)
    list(run_module.RankerScorer(experiment.ranker, prompts, summaries).score([task.request for task in tasks]))
    assert [(example.prompt, example.labels) for example in trained] == [
        (prompt, task.labels) for prompt, task in zip(scored, tasks, strict=True)
    ]
    assert all(summaries[task.request.example_id] != "" for task in tasks)
