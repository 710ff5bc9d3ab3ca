"""How much of what a user takes next a summary holds, as a sentence encoder reads it that was tuned on nothing here.

python experiments/summary_signal.py runs/main-products
python experiments/summary_signal.py runs/main-products --template experiments/templates/needs --examples 60 --show 5

Candidates of validation examples are ranked by the cosine of MiniLM between their text and: the items that a ranker's
prompt would show, the whole history, the summaries of the run, and a summary together with the items shown beside it.
All vectors have the mean of their kind taken out. With `--template`, summaries are made by other template sets too.
Test examples are not looked at, so that templates can be chosen by it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from trsr.config import ExperimentConfig, load_experiment
from trsr.data.columns import EXAMPLE, ITEM, VALID
from trsr.evaluation.comparisons import compare_with
from trsr.evaluation.evaluate import evaluate
from trsr.evaluation.table import number
from trsr.experiment.shown import shown_items
from trsr.experiment.summaries import open_summarizer, summarize_tasks
from trsr.experiment.tasks import Task, make_tasks
from trsr.llm.backend import Source
from trsr.llm.encoders import MINILM, Vectors, embed_texts, resolve_encoder
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet
from trsr.summaries.store import SummaryStore

METRICS = ("mrr@3", "recall@3", "auc")
SHOWN, BUDGET, WHOLE = "items beside a summary", "items of `recent`", "the whole history"
READ = 128  # tokens of a text


def centred(vectors: Vectors) -> Vectors:
    moved = vectors - vectors.mean(axis=0, keepdims=True)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)


class Signal:
    """Scores of texts and items on the validation examples of one run, by what was read."""

    def __init__(self, config: ExperimentConfig, examples: int | None) -> None:
        self.config, self.tasks = config, make_tasks(config)
        self.wanted = self.tasks.of(VALID)[:examples]
        self.encoder = resolve_encoder(MINILM)
        self.place = {item: place for place, item in enumerate(self.tasks.catalogue)}
        self.scores: dict[str, pl.DataFrame] = {}
        self.read: dict[str, float] = {}
        beside, budget = (shown_items(self.tasks, config, method) for method in ("none", "recent"))
        self.beside = self.add_items(SHOWN, lambda task: beside(task, ""))
        self.add_items(BUDGET, lambda task: budget(task, ""))
        self.add_items(WHOLE, lambda task: task.request.history)

    @cached_property
    def items(self) -> Vectors:
        texts = ItemTexts(
            self.tasks.catalogue, self.tasks.dataset.attributes, TemplateSet(self.config.prompt.template), None
        )
        return centred(embed_texts(self.encoder, [texts.whole(item) for item in self.place], READ, "float32"))

    def add_items(self, name: str, read: Callable[[Task], Sequence[str]]) -> Vectors:
        """The mean vectors (examples, dimensions) of the items that are read; notes how many they are on average."""
        found = [[self.place[item] for item in read(task)] for task in self.wanted]
        self.read[name] = float(np.mean([len(places) for places in found]))
        means = np.stack([self.items[places].mean(axis=0) for places in found])
        self.add(name, means)
        return means

    def add(self, name: str, tastes: Vectors) -> None:
        frames = []
        for task, taste in zip(self.wanted, tastes, strict=True):
            candidates = list(task.request.candidates)
            found = self.items[[self.place[item] for item in candidates]] @ taste
            frames.append(pl.DataFrame({EXAMPLE: task.request.example_id, ITEM: candidates, "score": found}))
        self.scores[name] = pl.concat(frames)

    def add_texts(self, name: str, texts: Sequence[str]) -> None:
        """A summary of every example, by itself and with the items that stand beside it."""
        vectors = centred(embed_texts(self.encoder, texts, READ, "float32"))
        self.add(name, vectors)
        lengths = np.maximum(np.linalg.norm(self.beside, axis=1, keepdims=True), 1e-9)
        self.add(f"{name}, and {SHOWN}", vectors + self.beside / lengths)

    def make(self, method: str, template: str) -> tuple[list[str], str]:
        """Summaries by another template set, and what making them took."""
        summaries = self.config.summaries.model_copy(update={"template": template})
        config = self.config.model_copy(update={"summaries": summaries})
        with (
            tempfile.TemporaryDirectory() as folder,
            SummaryStore(Path(folder) / "summaries.sqlite") as store,
            open_summarizer(config, self.tasks, store, Source.of(config.summaries)) as summarizer,
        ):
            started = time.monotonic()
            rows = summarize_tasks(summarizer, method, self.tasks, self.wanted)
            counts, seconds = summarizer.counts, time.monotonic() - started
        took = f"{counts.total.calls} calls, {sum(counts.replaced.values())} texts replaced, {seconds:.0f} s"
        return [row.profile.summary for row in rows], took

    def table(self) -> str:
        ids = [task.request.example_id for task in self.wanted]
        candidates = self.tasks.candidates[VALID].filter(pl.col(EXAMPLE).is_in(ids))
        found = evaluate(candidates, self.scores, self.config.evaluation)
        against = {(one.model, one.metric): one for one in compare_with(found, BUDGET, self.config.evaluation)}
        lines = [f"| read by MiniLM | {' | '.join(METRICS)} | mrr@3 against {BUDGET} |", f"|---|{'---|' * 4}"]
        for model, values in found.metrics.items():
            names = [next(name for name in values if name.partition("/")[0] == metric) for metric in METRICS]
            cells = [number(values[name]["mean"]) for name in names]
            test = against.get((model, names[0]))
            cells.append("" if test is None else f"{number(test.difference)} [{number(test.low)}, {number(test.high)}]")
            lines.append(f"| {model} | {' | '.join(cells)} |")
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run with summaries")
    parser.add_argument("--template", nargs="*", default=[], help="template sets by which to make summaries")
    parser.add_argument("--method", default="recurrent", help="of the summaries to make")
    parser.add_argument("--examples", type=int, help="validation examples; all otherwise")
    parser.add_argument("--show", type=int, default=0, help="how many summaries of each kind to print")
    asked = parser.parse_args()
    signal = Signal(load_experiment(asked.run / "config.yaml"), asked.examples)
    kept = pl.read_parquet(asked.run / "summaries.parquet")
    texts: dict[str, list[str]] = {}
    for method in kept["method"].unique(maintain_order=True):
        of_example = dict(kept.filter(pl.col("method") == method).select(EXAMPLE, "summary").iter_rows())
        texts[method] = [of_example[task.request.example_id] for task in signal.wanted]
    for template in asked.template:
        name = f"{asked.method} by {Path(template).name}"
        texts[name], took = signal.make(asked.method, template)
        print(f"{name}: {took}")
    for name, of_name in texts.items():
        signal.add_texts(name, of_name)
        for text in of_name[: asked.show]:
            print(f"- {name}: {text!r}")
    counts = ", ".join(f"{name} {count:.1f}" for name, count in signal.read.items())
    print(f"{asked.run}: {len(signal.wanted)} validation examples; items read: {counts}\n\n{signal.table()}")


if __name__ == "__main__":
    main()
