"""Ways to summarise the histories of the same users with the same model.

| method | what is done |
|---|---|
| published | one prompt at a time, every user padded to five blocks: calls for blocks that are not there are made too |
| backend_best | the calls of trsr, all known before, in the batches that suit the backend best: no plan to wait for |
| trsr | `trsr summarize` on an empty store |
| trsr_incremental | one new block for every user: what it costs after that |
| trsr_rerun | `trsr summarize` once more, over many more users: nothing has changed, nothing is to be done |

Loading the model is in none. Texts are greedy and have the same limits in all but `published`, which has none. `trsr`
and `backend_best` take turns, and the faster of two rounds counts for each.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trsr.benchmarks.backends import Instant, Recorded
from trsr.benchmarks.histories import blocks_of, without_last_block, write_many, write_users
from trsr.config import DataConfig, SummaryConfig, load_experiment
from trsr.data.columns import ITEM
from trsr.data.histories import Histories, History
from trsr.errors import ConfigError
from trsr.experiment.machine import describe_machine
from trsr.llm.backend import Source, decided, make_generator
from trsr.llm.local import LocalGenerator
from trsr.llm.protocol import Call, Decoding, Generation, Generator, Prompt
from trsr.llm.weights import load_model
from trsr.progress import say
from trsr.prompts.templates import TemplateSet
from trsr.summaries.counts import Usage
from trsr.summaries.profiles import update_profiles
from trsr.summaries.store import SummaryStore
from trsr.summaries.summarizer import Summarizer

METHODS = ("published", "backend_best", "trsr", "trsr_incremental", "trsr_rerun")
PUBLISHED_BLOCKS = 5
_BATCHES = (64, 128)
_ROUNDS = 2


@dataclass(frozen=True)
class SummaryPlan:
    """What to measure: settings, users, and how many users for the methods that are slow or quick.

    `folder` is a dataset folder, None for the built-in bookshop. `published_users` of the `users` are summarised in the
    published way, and `rerun_users` are looked at by a rerun.
    """

    config: SummaryConfig
    template: str
    attributes: tuple[str, ...] | None
    folder: Path | None
    users: int
    published_users: int
    rerun_users: int
    methods: Sequence[str]

    def check(self) -> None:
        """Raise `ConfigError` for a method that is not known."""
        for name in self.methods:
            if name not in METHODS:
                raise ConfigError(f"--method: no method {name!r}; take {', '.join(METHODS)}")


@dataclass(frozen=True)
class SummaryResult:
    """What a method did: users, calls, tokens read and written, and seconds of wall time."""

    method: str
    users: int
    usage: Usage
    seconds: float
    device: str
    model: str
    note: str = ""

    @property
    def users_per_minute(self) -> float:
        """Users a minute."""
        return 60 * self.users / self.seconds

    @property
    def row(self) -> dict[str, Any]:
        """The row of `--json`."""
        return {
            "method": self.method,
            "users": self.users,
            "calls": self.usage.calls,
            "tokens_in": self.usage.tokens_in,
            "tokens_out": self.usage.tokens_out,
            "seconds": self.seconds,
            "device": self.device,
        }


def plan_for(
    folder: Path | None, config: Path | None, sizes: tuple[int, int, int], methods: Sequence[str]
) -> SummaryPlan:
    """A plan with the settings of an experiment file, or those that suit the bookshop and two cores.

    `sizes` are `users`, `published_users` and `rerun_users`.
    """
    methods = methods or METHODS
    if config is not None:
        experiment = load_experiment(config)
        attributes = None if experiment.data.attributes is None else tuple(experiment.data.attributes)
        return SummaryPlan(experiment.summaries, experiment.summary_template, attributes, folder, *sizes, methods)
    settings = SummaryConfig(item_tokens=32, max_prompt_tokens=640, max_new_tokens=48)
    if folder is not None:
        return SummaryPlan(settings, "generic", None, folder, *sizes, methods)
    return SummaryPlan(settings, "books", ("title", "subjects"), None, *sizes, methods)


def bench_summaries(plan: SummaryPlan) -> list[SummaryResult]:
    """Measure the ways to summarise. Raises `ConfigError`, `DataError` and `ModelError`."""
    plan.check()
    with TemporaryDirectory() as work:
        return list(_Bench(plan, Path(work)).run())


class _Bench:
    def __init__(self, plan: SummaryPlan, work: Path) -> None:
        self.plan, self.work = plan, work
        folder = plan.folder or write_users(work / "bookshop", plan.users)
        self.histories = Histories(folder, DataConfig(path=folder, attributes=_listed(plan.attributes)), seed=7)
        self.catalogue = {row[ITEM]: row for row in self.histories.items.iter_rows(named=True)}
        source = Source.of(plan.config)
        if plan.config.backend.kind == "local":
            source = replace(source, model=load_model(source.weights, plan.config.dtype))
        self.weights, self.chat, self.model = source.weights, source.chat, source.model
        self.config = decided(plan.config, source)
        self.generator = Recorded(make_generator(self.config, source))
        self.where = str(describe_machine()["device"]), plan.config.backend.model or plan.config.model

    def run(self) -> Iterator[SummaryResult]:
        """The methods in an order in which each has what it needs; ours first, for the others take over its calls."""
        whole, before = self._users()
        wanted = self.plan.methods
        self._warm_up(whole)
        ours, best = [], []
        for turn in range(_ROUNDS):  # by turns, so that a machine's moods fall on both alike
            with SummaryStore(self.work / f"calls{turn}.sqlite") as store:
                ours.append(self._update("trsr", store, whole))
                calls = list(self.generator.calls)
            if "backend_best" in wanted:
                best.append(self._best(calls))
        yield from (min(results, key=lambda result: result.seconds) for results in (ours, best) if results)
        if "published" in wanted:
            yield self._published(whole[: self.plan.published_users])
        if "trsr_incremental" in wanted:
            with SummaryStore(self.work / "growing.sqlite") as store:
                self._update("", store, before)
                yield self._update("trsr_incremental", store, whole)
        if "trsr_rerun" in wanted:
            yield self._rerun()

    def _users(self) -> tuple[list[History], list[History]]:
        """The users whole, and without their last block; only those who have two."""
        size = self.plan.config.block_size
        long = (history for history in self.histories if len(history.items) > size)
        whole = [history for _, history in zip(range(self.plan.users), long, strict=False)]
        if not whole:
            raise ConfigError(f"{self.histories.name}: no user has more than {size} events; lower block_size")
        return whole, [without_last_block(history, size) for history in whole]

    def _summarizer(self, store: SummaryStore, generator: Generator | None = None) -> Summarizer:
        templates = TemplateSet(self.plan.template)
        attributes = self.histories.attributes
        backend = generator or self.generator
        return Summarizer(backend, self.chat, templates, self.config, store, self.catalogue, attributes)

    def _update(self, method: str, store: SummaryStore, histories: Sequence[History]) -> SummaryResult:
        summarizer = self._summarizer(store)
        self.generator.calls.clear()
        started = time.perf_counter()
        kept = update_profiles(summarizer, "recurrent", histories)
        seconds = time.perf_counter() - started
        again = f"{summarizer.counts.retried} second attempts" if summarizer.counts.retried else ""
        return SummaryResult(method, kept.users, summarizer.counts.made, seconds, *self.where, again)

    def _warm_up(self, whole: Sequence[History]) -> None:
        with SummaryStore(self.work / "warm.sqlite") as store:
            self._update("", store, whole[:2])

    def _best(self, calls: Sequence[Call]) -> SummaryResult:
        """All the calls in the size of batch that is fastest for them; a server, which forms its own, gets all."""
        if self.model is None:
            return self._raw(calls, self.generator, "all at once")
        sizes = [size for size in _BATCHES if size < len(calls)] or [len(calls)]
        tried = [self._raw(calls, self._local(size), f"batches of {size}") for size in sizes]
        return min(tried, key=lambda result: result.seconds)

    def _local(self, size: int) -> LocalGenerator:
        return LocalGenerator(self.model, self.chat, self.weights.fingerprint, size)

    def _raw(self, calls: Sequence[Call], generator: Generator, note: str) -> SummaryResult:
        waiting = sorted(calls, key=lambda call: -len(self.chat.encode_prompt(call.prompt)))
        usage, under_way = Usage(), 0
        started = time.perf_counter()
        while waiting or under_way:
            some, waiting = waiting[: generator.slots - under_way], waiting[generator.slots - under_way :]
            generator.submit(some)
            done = generator.collect()
            under_way += len(some) - len(done)
            for _, generation in done:
                usage += Usage(1, generation.tokens_in, generation.tokens_out)
        seconds = time.perf_counter() - started
        users = len({history.user for history in self._users()[0]})
        return SummaryResult("backend_best", users, usage, seconds, *self.where, note)

    def _published(self, histories: Sequence[History]) -> SummaryResult:
        """One call after the other, and five for every user; a text of the last block is kept as the summary is."""
        with SummaryStore(self.work / "published.sqlite") as store:
            prompts = self._summarizer(store).prompts
        write = self._plain() if self.model is not None else self._one_by_one()
        usage = Usage()
        started = time.perf_counter()
        for history in histories:
            blocks = blocks_of(history, self.plan.config.block_size)[-PUBLISHED_BLOCKS:]
            padded = [*blocks, *[()] * (PUBLISHED_BLOCKS - len(blocks))]
            summary = ""
            for block in padded:
                written = write(prompts.update(summary, block) if summary else prompts.block(block))
                summary = prompts.finish(written.text)
                usage += Usage(1, written.tokens_in, written.tokens_out)
        seconds = time.perf_counter() - started
        return SummaryResult("published", len(histories), usage, seconds, *self.where, "padded to 5 blocks")

    def _plain(self) -> Callable[[Prompt], Generation]:
        """One prompt through transformers' own `generate`, without limits, which would only take time."""
        import torch

        model: Any = self.model
        tokenizer, most = self.chat.tokenizer, self.plan.config.max_new_tokens

        def write(prompt: Prompt) -> Generation:
            ids = torch.tensor([self.chat.encode_prompt(prompt)], device=model.device)
            with torch.inference_mode():
                output = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=most
                )
            written = output[0, ids.shape[1] :]
            return Generation(tokenizer.decode(written, skip_special_tokens=True), ids.shape[1], len(written))

        return write

    def _one_by_one(self) -> Callable[[Prompt], Generation]:
        """One request at a time to the backend."""
        decoding = Decoding(self.plan.config.max_new_tokens)

        def write(prompt: Prompt) -> Generation:
            self.generator.submit([Call("one", prompt, decoding)])
            [(_, generation)] = self.generator.collect()
            return generation

        return write

    def _rerun(self) -> SummaryResult:
        """Over users from a Parquet file whose summaries an instant backend has written before."""
        folder = write_many(self.work / "many", self.histories, self.plan.rerun_users)
        data = DataConfig(path=folder, attributes=_listed(self.plan.attributes))
        instant = Instant(self.generator.fingerprint)
        with SummaryStore(self.work / "many.sqlite") as store:
            say(f"summaries of {self.plan.rerun_users:,} users, written at once, for a rerun to look at")
            update_profiles(self._summarizer(store, instant), "recurrent", Histories(folder, data, seed=7))
            summarizer = self._summarizer(store, instant)
            started = time.perf_counter()
            kept = update_profiles(summarizer, "recurrent", Histories(folder, data, seed=7))
            seconds = time.perf_counter() - started
        return SummaryResult("trsr_rerun", kept.users, summarizer.counts.made, seconds, *self.where, "from Parquet")


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
