"""One experiment from its settings to its report; run again, it continues where it stopped.

Stages: tasks, summaries, a tuned ranker and its scores per summary method, scores of the models beside them,
metrics, checks, stories, report. A stage whose file is in the run folder is not done again; inside a stage, calls,
training steps and scores that were kept are not repeated.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from trsr.baselines.oracle import Oracle
from trsr.baselines.registry import check_installed
from trsr.config import ExperimentConfig, RankerConfig
from trsr.data.columns import EXAMPLE, TEST, TRAIN, VALID
from trsr.data.reading import read_table
from trsr.data.scoring import Scorer
from trsr.errors import ConfigError
from trsr.evaluation.comparisons import compare_run
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.report import write_report
from trsr.experiment.baselines import fit_data, tuned_baseline
from trsr.experiment.checks import check_run
from trsr.experiment.machine import describe_machine, fingerprint_models
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.scoring import Note, score_tasks
from trsr.experiment.sharing import Sharing, untuned_method
from trsr.experiment.stories import tell_stories
from trsr.experiment.summaries import open_summarizer, summarize_tasks
from trsr.experiment.tasks import Tasks, make_tasks
from trsr.experiment.tuning import keep_tuned, label, prompt_counts
from trsr.llm.backend import Source
from trsr.progress import say, stage
from trsr.prompts.templates import TemplateSet
from trsr.ranking.processes import is_main, main_first, part, refuse_several
from trsr.ranking.ranker import Ranker, RankerScorer
from trsr.ranking.training import Progress, train
from trsr.summaries.export import SummaryRow, summaries_frame
from trsr.summaries.store import SummaryStore


def run_experiment(config: ExperimentConfig, out: Path, sharing: Sharing | None = None) -> Path:
    """Run or continue the experiment in folder `out`; gives `out`. Raises the errors of `trsr.errors`.

    `sharing` is what it has in common with other runs.
    """
    refuse_several("trsr run")
    check_installed(config.baselines)
    return _Experiment(config, RunFolder.open(out, config), sharing).run()


def train_one(config: ExperimentConfig, method: str, out: Path) -> tuple[Path, dict[str, Any]]:
    """Only tune the ranker of one summary method, in the run folder `out`; gives its model folder and the log.

    Processes that `accelerate launch` started share the training; the first of them does and writes the rest.
    Raises `ConfigError` for a method that the experiment does not have.
    """
    if method not in config.methods:
        raise ConfigError(f'train: {config.name} has no method "{method}"; its methods are {", ".join(config.methods)}')
    with main_first():
        run = RunFolder.open(out, config)
    return _Experiment(config, run).train(method)


class _Experiment:
    def __init__(self, config: ExperimentConfig, run: RunFolder, sharing: Sharing | None = None) -> None:
        self.config, self.folder, self.sharing = config, run, sharing

    def run(self) -> Path:
        self._record_start()
        summaries = self._summaries()
        if self.sharing is not None:
            self.sharing.take(self.folder, self.config, self.tasks, summaries)
        self._baselines()
        if self.config.methods:
            self._untuned(summaries)
        for method in self.config.methods:
            self._tuned(method, summaries)
        self._evaluate()
        check_run(self.folder, self.tasks, self.config)
        tell_stories(self.folder, self.tasks, self.config)
        self.folder.update_manifest(finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        write_report(self.folder.path)
        return self.folder.path

    def train(self, method: str) -> tuple[Path, dict[str, Any]]:
        """Tune one ranker, unless that is done; gives its folder and its log."""
        name = f"trsr-{method}"
        done = self.folder.training_log(name).exists()
        with main_first():
            if is_main():
                self._record_start()
            summaries = {} if done or method == "none" else self._summaries()[method]
        if not done:
            self._train(name, method, summaries)
        part()
        return self.folder.adapter(name), json.loads(self.folder.training_log(name).read_text(encoding="utf-8"))

    @cached_property
    def tasks(self) -> Tasks:
        """Data, examples and candidates."""
        return make_tasks(self.config)

    @cached_property
    def ranker(self) -> Ranker:
        """The untuned ranker; its model is loaded at first use."""
        return Ranker.from_base(self._ranker_config(), self.config.prompt, self.tasks.dataset.attributes)

    def _ranker_config(self) -> RankerConfig:
        """How the ranker scores; a continued run attends as it did before, whatever would be measured now."""
        attention = self.folder.read_manifest().get("attention", {}).get("path", self.config.ranker.attention)
        return self.config.ranker.model_copy(update={"attention": attention})

    def _record_start(self) -> None:
        """Save examples, candidates and the first lines of the manifest; refuse a folder made from other inputs."""
        started, tasks = time.monotonic(), self.tasks
        fingerprints = {
            "data": tasks.dataset.fingerprint,
            "templates": TemplateSet(self.config.prompt.template).fingerprint,
            **fingerprint_models(self.config),
        }
        for what, fingerprint in fingerprints.items():
            self.folder.refuse_change(what, fingerprint)
        self.folder.write_table("examples.parquet", tasks.examples.frame)
        self.folder.write_table("candidates.parquet", tasks.candidates[TEST])
        learning = pl.concat([tasks.candidates[TRAIN], tasks.candidates[VALID]])
        self.folder.write_table("training_candidates.parquet", learning)
        counts = {split: frame[EXAMPLE].n_unique() for split, frame in tasks.candidates.items()}
        self.folder.update_manifest(
            name=self.config.name,
            seed=self.config.seed,
            data={
                "name": tasks.dataset.name,
                "attributes": list(tasks.dataset.attributes),
                "split": tasks.examples.by,
                "examples": counts,
                "cleaning": tasks.dataset.report.as_dict(),
            },
            fingerprints=fingerprints,
            **self._machines(),
            seconds={"data": round(time.monotonic() - started, 1)},
        )
        say(f"data: {'; '.join(tasks.dataset.report.lines())}")
        say(
            f"split by {tasks.examples.by}: {', '.join(f'{count} {split}' for split, count in counts.items())} examples"
        )

    def _machines(self) -> dict[str, Any]:
        """The machine that the run was begun on, and the others that it was continued on."""
        begun, now = self.folder.read_manifest().get("machine"), describe_machine()
        others = self.folder.read_manifest().get("continued_on", [])
        if begun is None or now == begun or now in others:
            return {"machine": begun or now}
        return {"continued_on": [*others, now]}

    def _summaries(self) -> dict[str, dict[str, str]]:
        """Summaries by method and example id; made now or read from the run folder."""
        methods = [method for method in self.config.methods if method != "none"]
        path = self.folder.path / "summaries.parquet"
        if not path.exists():
            self._write_summaries(methods)
        frame = read_table(path)
        found: dict[str, dict[str, str]] = {method: {} for method in self.config.methods}
        for method, example_id, summary in frame.select("method", EXAMPLE, "summary").iter_rows():
            found[method][example_id] = summary
        return found

    def _write_summaries(self, methods: Sequence[str]) -> None:
        tasks = [task for split in (TRAIN, VALID, TEST) for task in self.tasks.of(split)]
        rows: list[SummaryRow] = []
        own = self.folder.path / "summaries.sqlite" if self.sharing is None else self.sharing.store
        place = self.config.summaries.store or own
        if methods:
            with (
                self._timed("summaries"),
                SummaryStore(place) as store,
                open_summarizer(self.config, self.tasks, store, self._summary_source()) as summarizer,
            ):
                for method in methods:
                    rows += summarize_tasks(summarizer, method, self.tasks, tasks)
                self.folder.update_manifest(summaries=summarizer.usage())
        self.folder.write_table("summaries.parquet", summaries_frame(rows))

    def _summary_source(self) -> Source:
        """Where the summariser's weights come from; those of the ranker serve for both where they are the same."""
        config, ranker = self.config.summaries, self.config.ranker
        same = (config.model, config.dtype, "none") == (ranker.base, ranker.dtype, ranker.quantization)
        if same and config.backend.kind == "local":
            return Source(self.ranker.weights, self.ranker.chat, self.ranker.model)
        return Source.of(config)

    def _baselines(self) -> None:
        data = fit_data(self.tasks, self.config)
        for name in self.config.baselines:
            if not self.folder.scores(name).exists():
                with self._timed(f"tune {name}"):
                    scorer = tuned_baseline(name, data, self.folder, self.config.seed)
                self._score(name, scorer)
        if self.tasks.truth is not None:
            cuts = {task.request.example_id: task.cut for task in self.tasks.of(TEST)}
            self._score("oracle", Oracle(self.tasks.truth, cuts))

    def _untuned(self, summaries: Mapping[str, Mapping[str, str]]) -> None:
        method = untuned_method(self.config)
        if not self._is_scored("untuned"):
            self._score_with(self.ranker, "untuned", summaries[method])

    def _tuned(self, method: str, summaries: Mapping[str, Mapping[str, str]]) -> None:
        """Train, save and score the ranker of one summary method, as far as that is not done."""
        name = f"trsr-{method}"
        if self._is_scored(name):
            return
        if self.folder.training_log(name).exists():
            tuned = Ranker.from_pretrained(self.folder.adapter(name), settings=self._ranker_config())
            self._score_with(tuned, name, summaries[method])
            return
        tuned = self._train(name, method, summaries[method])
        self._score_with(tuned, name, summaries[method])
        if tuned.whole:
            del self.ranker  # the next method loads the base weights anew
        else:
            tuned.model.unload()  # takes the adapter out of the base model, which the next method tunes anew

    def _train(self, name: str, method: str, summaries: Mapping[str, str]) -> Ranker:
        prompts = self.ranker.prompts(self.tasks.catalogue)
        examples, validation = (label(self.tasks.of(split), prompts, summaries) for split in (TRAIN, VALID))
        checkpoints = self.folder.checkpoints(name)
        with self._told(f"train {name}", f"training {name}") as on_step:
            tuned, log = train(self.ranker, examples, validation, self.config.training, checkpoints, on_step)
        tuned = replace(
            tuned,
            attention=self._ranker_config().attention,
            summary_method=method,
            min_rating=self.config.data.min_rating,
            seed=self.config.seed,
        )
        if is_main():
            keep_tuned(self.folder, name, tuned, log, prompts, self.config.training)
        return tuned

    def _score_with(self, ranker: Ranker, name: str, summaries: Mapping[str, str]) -> None:
        prompts = ranker.prompts(self.tasks.catalogue)
        if "attention" not in self.folder.read_manifest():  # the first choice is that of the whole run
            self.folder.update_manifest(attention=asdict(ranker.attention_choice))
        self._score(name, RankerScorer(ranker, prompts, summaries), lambda: ranker.scoring.report.throughput)
        tests = self.tasks.of(TEST)
        if prompts.counts.prompts < len(tests):  # an earlier, cut short run scored some of them: count all prompts
            prompts = ranker.prompts(self.tasks.catalogue)
            for task in tests:
                prompts.build(summaries.get(task.request.example_id, ""), task.request.history, task.request.candidates)
        answers = ranker.answers
        self.folder.update_manifest(
            ranker={
                "base": ranker.weights.name,
                "source": ranker.weights.source,
                "weight_hash": ranker.weights.hash,
                "dtype": ranker.dtype,
                "answers": f"{answers.yes_piece!r} ({answers.yes_id}), {answers.no_piece!r} ({answers.no_id})",
            },
            scoring={name: prompt_counts(prompts)},
            speed={name: ranker.scoring.report.as_dict()},
        )

    def _is_scored(self, name: str) -> bool:
        """Whether an LLM's scores are there, and the counts of its prompts, which come after them."""
        return self.folder.scores(name).exists() and name in self.folder.read_manifest().get("scoring", {})

    def _score(self, name: str, scorer: Scorer, note: Note = str) -> None:
        if not self.folder.scores(name).exists():
            with self._timed(f"score {name}"):
                score_tasks(self.folder, name, scorer, self.tasks.of(TEST), note)

    def _evaluate(self) -> None:
        paths = sorted((self.folder.path / "scores").glob("*.parquet"))
        scores = {path.stem: read_table(path) for path in paths}
        evaluation = evaluate(self.tasks.candidates[TEST], scores, self.config.evaluation)
        self.folder.write_json("metrics.json", evaluation.metrics)
        compared = compare_run(evaluation, self.config.evaluation)
        self.folder.write_json("comparisons.json", [asdict(comparison) for comparison in compared])
        self.folder.write_table("per_user.parquet", evaluation.per_user)

    @contextmanager
    def _told(self, name: str, title: str) -> Iterator[Progress | None]:
        """Time a training and show its steps, in the main process."""
        if not is_main():
            yield None
            return
        with self._timed(name), stage(title) as progress:
            yield lambda step, total, loss: progress.update(step, f"loss {loss:.3f}", total)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to the manifest, also when the block is cut short."""
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self.folder.read_manifest().get("seconds", {}).get(name, 0.0) + time.monotonic() - started
            self.folder.update_manifest(seconds={name: round(spent, 1)})
