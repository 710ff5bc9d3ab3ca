"""The two benchmarks whole: a model, its methods, the cases, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from trsr.benchmarks.cases import Case, grid, growth
from trsr.benchmarks.running import Methods, Result, Runner
from trsr.benchmarks.scoring import ScoringMethods
from trsr.benchmarks.subject import Subject, load_subject, random_subject
from trsr.benchmarks.training import TrainingMethods, check_loss
from trsr.benchmarks.work import Operations, peak_operations
from trsr.config import AttentionPath
from trsr.errors import ConfigError
from trsr.experiment.machine import describe_machine
from trsr.progress import say
from trsr.ranking.attention_choice import choose_attention
from trsr.ranking.checkpoint import TRAINING_PATH
from trsr.ranking.families import prompt_limit
from trsr.ranking.scoring import affordable_tokens

_PATHS: tuple[str, ...] = get_args(AttentionPath)


@dataclass(frozen=True)
class Plan:
    """What to measure: a model, the sizes, the methods (all if none) and how often.

    `random_weights` is a size of model instead of a name; `growth` lets candidates and prefix grow from the first
    prefix and suffix and the last number of candidates, and leaves out what would take longer than `limit_seconds`;
    `ragged` suffixes differ in length.
    """

    model: str
    dtype: str
    prefixes: Sequence[int]
    suffixes: Sequence[int]
    candidates: Sequence[int]
    methods: Sequence[str] = ()
    attention: str = "auto"
    repeats: int = 5
    random_weights: str | None = None
    force: bool = False
    growth: bool = False
    limit_seconds: float = 120.0
    ragged: bool = False

    def check(self, known: Sequence[str]) -> None:
        """Raise `ConfigError` for a method that is not `known`, or an attention that is none."""
        for option, wanted, choice in (("method", self.methods, known), ("attention", [self.attention], _PATHS)):
            for name in wanted:
                if name not in choice:
                    raise ConfigError(f"--{option}: no {option} {name!r}; take {', '.join(choice)}")

    @property
    def cases(self) -> list[Case]:
        """The cases in the order in which they are run."""
        if self.growth:
            cases = growth(Case(self.prefixes[0], self.suffixes[0], self.candidates[-1]))
        else:
            cases = grid(self.prefixes, self.suffixes, self.candidates)
        return [replace(case, ragged=self.ragged) for case in cases]


@dataclass(frozen=True)
class Report:
    """The results, what they were made on, and the operations a second of the device where they are known."""

    results: list[Result]
    task: str
    model: str
    dtype: str
    device: str
    threads: int
    peak_operations: float | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `--json`."""
        return [result.row(self.device) for result in self.results]

    @property
    def title(self) -> str:
        """One line on what was measured where."""
        threads = f", {self.threads} threads" if self.device.startswith("cpu") else ""
        return f"{self.task}: {self.model}, {self.dtype}, {self.device}{threads}"


def bench_scoring(plan: Plan) -> Report:
    """Time the ways to score candidates. Raises `ConfigError` and `ModelError`, also for a method that scores wrong."""
    plan.check(ScoringMethods.names)
    subject = _subject(plan)
    operations = Operations.of(subject.model, training=False)
    path = choose_attention(subject.model, cast(AttentionPath, plan.attention), affordable_tokens(subject.model)).path
    return _run(plan, "scoring", ScoringMethods(subject, path), operations)


def bench_training(plan: Plan, loss: str, lora_r: int) -> Report:
    """Time the ways to compute the gradient of candidates. Raises as `bench_scoring`."""
    plan.check(TrainingMethods.names)
    check_loss(loss)
    subject = _subject(plan)
    operations = Operations.of(subject.model, training=True)  # before LoRA adds weights of its own
    path = plan.attention if plan.attention in ("mask", "flex") else TRAINING_PATH
    return _run(plan, f"training, {loss} loss", TrainingMethods(subject, path, loss, lora_r), operations)


def _subject(plan: Plan) -> Subject:
    if plan.random_weights is not None:
        return random_subject(plan.random_weights, plan.dtype, plan.force)
    return load_subject(plan.model, plan.dtype)


def _run(plan: Plan, task: str, methods: Methods, operations: Operations) -> Report:
    subject = methods.subject
    runner = Runner(methods, operations, plan.repeats, plan.limit_seconds if plan.growth else None)
    names = [name for name in methods.names if not plan.methods or name in plan.methods]
    results = runner.run(_fitting(plan, subject), names)
    if plan.ragged:
        task = f"{task}, suffixes of S/2 to 3S/2 tokens"
    machine = describe_machine()
    dtype = str(subject.dtype).removeprefix("torch.")
    peak = peak_operations(subject.device, subject.dtype)
    return Report(results, task, subject.name, dtype, machine["device"], machine["threads"], peak)


def _fitting(plan: Plan, subject: Subject) -> list[Case]:
    """The cases of a plan; prompts longer than the model reads are an error unless they came by growing."""
    limit = prompt_limit(subject.model.config)
    fitting = [case for case in plan.cases if limit is None or case.prompt <= limit.tokens]
    for case in plan.cases:
        if case not in fitting and plan.growth:
            say(f"{case}: left out, longer than the model reads")
        elif case not in fitting:
            reads = f"the model has a {limit.what} of {limit.tokens}" if limit is not None else ""
            raise ConfigError(f"--prefix and --suffix: prompts of {case.prompt} tokens, but {reads}; lower them")
    return fitting
