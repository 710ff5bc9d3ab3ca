"""One experiment from its settings to its report; run again, it continues where it stopped.

Stages: tasks, summaries, scores of the models beside the rankers, a tuned ranker and its scores per method, mixes of
models, metrics, checks, stories, report. A stage whose file is in the run folder is not done again; inside a stage,
calls, training steps and scores that were kept are not repeated.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trsr.baselines.oracle import Oracle
from trsr.baselines.registry import check_installed
from trsr.config import TUNED, UNTUNED, ExperimentConfig, RankerConfig, RankerMethod
from trsr.data.columns import EXAMPLE, TEST, TRAIN, VALID
from trsr.data.reading import read_table
from trsr.data.scoring import Scorer
from trsr.errors import ConfigError
from trsr.evaluation.report import write_report
from trsr.experiment.baselines import fit_data, tuned_baseline
from trsr.experiment.checks import check_run
from trsr.experiment.checks.controls import is_controlled, score_controls
from trsr.experiment.evaluating import evaluate_run
from trsr.experiment.mixing import check_mixable, write_mix
from trsr.experiment.recording import record_start
from trsr.experiment.run_folder import RunFolder
from trsr.experiment.scoring import Note, score_into
from trsr.experiment.sharing import Sharing, untuned_method
from trsr.experiment.stories import tell_stories
from trsr.experiment.summaries import open_summarizer, summarize_tasks
from trsr.experiment.tasks import Tasks, make_tasks
from trsr.experiment.tuning import keep_tuned, label, prompt_counts
from trsr.files import held
from trsr.llm.backend import Source
from trsr.llm.encoders import check_encoder
from trsr.progress import stage
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
    if "embedding" in config.baselines:
        check_encoder(config.encoder_model)
    check_mixable(config.mixes)
    with held(out):
        return _Experiment(config, RunFolder.open(out, config), sharing).run()


def train_one(config: ExperimentConfig, method: str, out: Path) -> tuple[Path, dict[str, Any]]:
    """Only tune the ranker of one summary method, in the run folder `out`; gives its model folder and the log.

    Processes that `accelerate launch` started share the training; the first of them does and writes the rest.
    Raises `ConfigError` for a method that the experiment does not have, and for a folder where another is at work.
    """
    wanted = next((known for known in config.methods if known == method), None)
    if wanted is None:
        raise ConfigError(f'train: {config.name} has no method "{method}"; its methods are {", ".join(config.methods)}')
    with ExitStack() as stack:
        with main_first():
            if is_main():
                stack.enter_context(held(out))
            run = RunFolder.open(out, config)
        return _Experiment(config, run).train(wanted)


class _Experiment:
    def __init__(self, config: ExperimentConfig, run: RunFolder, sharing: Sharing | None = None) -> None:
        self.config, self.folder, self.sharing = config, run, sharing

    def run(self) -> Path:
        self._record_start()
        summaries = self._summaries()
        if self.sharing is not None:
            self.sharing.take(self.folder, self.config, self.tasks, summaries)
        self._baselines()
        if UNTUNED in self.config.models:
            self._untuned(summaries)
        for method in self.config.methods:
            self._tuned(method, summaries)
        self._mixes()
        evaluate_run(self.folder, self.tasks, self.config)
        check_run(self.folder, self.tasks, self.config)
        tell_stories(self.folder, self.tasks, self.config)
        self.folder.update_manifest(finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        write_report(self.folder.path)
        return self.folder.path

    def train(self, method: RankerMethod) -> tuple[Path, dict[str, Any]]:
        """Tune one ranker, unless that is done; gives its folder and its log."""
        name = f"{TUNED}{method}"
        done = self.folder.training_log(name).exists()
        with main_first():
            if is_main():
                self._record_start()
            wanted = not done and method in self.config.summary_methods
            summaries = self._summaries()[method] if wanted else {}
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
        ranker = Ranker.from_base(self._ranker_config(), self.config.prompt, self.tasks.dataset.attributes)
        return replace(ranker, popularity=self.tasks.popularity)

    def _ranker_config(self) -> RankerConfig:
        """How the ranker scores; a continued run attends as it did before, whatever would be measured now."""
        attention = self.folder.read_manifest().get("attention", {}).get("path", self.config.ranker.attention)
        return self.config.ranker.model_copy(update={"attention": attention})

    def _record_start(self) -> None:
        """Save examples, candidates and the first lines of the manifest; refuse a folder made from other inputs."""
        started, tasks = time.monotonic(), self.tasks
        record_start(self.folder, tasks, self.config)
        self.folder.update_manifest(seconds={"data": round(time.monotonic() - started, 1)})

    def _summaries(self) -> dict[str, dict[str, str]]:
        """Summaries by method and example id; made now or read from the run folder."""
        path = self.folder.path / "summaries.parquet"
        if not path.exists():
            self._write_summaries(self.config.summary_methods)
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
                started, of_methods = time.monotonic(), dict[str, dict[str, int]]()
                for method in methods:
                    before = summarizer.counts.total
                    rows += summarize_tasks(summarizer, method, self.tasks, tasks)
                    of_methods[method] = asdict(summarizer.counts.total - before)
                usage = summarizer.usage() | {"methods": of_methods}
                usage["of_these_made_now"]["seconds"] = round(time.monotonic() - started, 1)
                self.folder.update_manifest(summaries=usage)
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
            if self._unscored(name) or not is_controlled(self.folder, self.config, name):
                with self._timed(f"tune {name}"):
                    scorer = tuned_baseline(name, data, self.folder, self.config.seed)
                self._score(name, scorer)
        if self.tasks.truth is not None:
            cuts = {task.request.example_id: task.cut for task in self.tasks.of(TEST)}
            self._score("oracle", Oracle(self.tasks.truth, cuts))

    def _untuned(self, summaries: Mapping[str, Mapping[str, str]]) -> None:
        method = untuned_method(self.config)
        if not self._is_scored(UNTUNED):
            ranker = replace(self.ranker, prompt=self.config.prompt_of(method))
            self._score_with(ranker, UNTUNED, summaries[method])

    def _tuned(self, method: RankerMethod, summaries: Mapping[str, Mapping[str, str]]) -> None:
        """Train, save and score the ranker of one summary method, as far as that is not done."""
        name = f"{TUNED}{method}"
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

    def _train(self, name: str, method: RankerMethod, summaries: Mapping[str, str]) -> Ranker:
        ranker = replace(self.ranker, prompt=self.config.prompt_of(method))
        prompts = ranker.prompts(self.tasks.catalogue)
        examples, validation = (label(self.tasks.of(split), prompts, summaries) for split in (TRAIN, VALID))
        checkpoints = self.folder.checkpoints(name)
        with self._told(f"train {name}", f"training {name}") as on_step:
            tuned, log = train(ranker, examples, validation, self.config.training, checkpoints, on_step)
        tuned = replace(
            tuned,
            attention=self._ranker_config().attention,
            summary_method=method if method in self.config.summary_methods else "none",
            min_rating=self.config.data.min_rating,
            seed=self.config.seed,
        )
        if is_main():
            keep_tuned(self.folder, name, tuned, log, prompts, self.config.training)
        return tuned

    def _score_with(self, ranker: Ranker, name: str, summaries: Mapping[str, str]) -> None:
        if "attention" not in self.folder.read_manifest():  # the first choice is that of the whole run
            self.folder.update_manifest(attention=asdict(ranker.attention_choice))
        prompts, tests = ranker.prompts(self.tasks.catalogue), self.tasks.of(TEST)
        self._score(name, RankerScorer(ranker, prompts, summaries), lambda: ranker.scoring.report.throughput)
        if prompts.counts.prompts != len(tests):  # a cut short run scored some, or validation was scored too
            prompts = ranker.prompts(self.tasks.catalogue)
            label(tests, prompts, summaries)
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
        return not self._unscored(name) and name in self.folder.read_manifest().get("scoring", {})

    def _unscored(self, name: str) -> list[str]:
        """The splits that a model has yet to score: test, and validation where a mix is fitted on it."""
        mixed = {part for parts in self.config.mixes.values() for part in parts}
        splits = (VALID, TEST) if name in mixed else (TEST,)
        return [split for split in splits if not self.folder.scores(name, split).exists()]

    def _score(self, name: str, scorer: Scorer, note: Note = str) -> None:
        for split in self._unscored(name):
            told = name if split == TEST else f"{name}, {split}"
            with self._timed(f"score {told}"):
                score_into(self.folder.scores(name, split), told, scorer, self.tasks.of(split), note)
        score_controls(self.folder, self.tasks, self.config, name, scorer, self._timed)

    def _mixes(self) -> None:
        for name, models in self.config.mixes.items():  # anew in every run: a model of it may have been made anew
            write_mix(self.folder, name, models, self.tasks)

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
