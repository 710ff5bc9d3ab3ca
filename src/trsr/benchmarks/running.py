"""Runs the methods over the cases: who takes part, who would take too long, who ran out of memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from trsr.benchmarks.cases import Case, Inputs
from trsr.benchmarks.subject import Subject
from trsr.benchmarks.timing import LeftOut, Method, Timing, Value, alternate, sample
from trsr.benchmarks.work import Operations, Work
from trsr.errors import ConfigError
from trsr.llm.memory import ran_out, release
from trsr.progress import say, stage

T = TypeVar("T")


class Methods(Protocol):
    """Ways to do one task on one model; those that cannot have a case say so."""

    subject: Subject
    names: tuple[str, ...]

    def work(self, name: str, case: Case) -> Work:
        """What a call of a method computes."""

    def build(self, name: str, inputs: Inputs) -> Method | LeftOut:
        """A method on a case."""

    def checker(self, inputs: Inputs) -> Callable[[str, Value], None]:
        """Raises `ModelError` for a value that is not right."""


@dataclass(frozen=True)
class Result:
    """What one method took for one case; `operations` are those of a call, and `note` tells how it ran."""

    method: str
    case: Case
    timing: Timing
    tokens: int
    operations: float
    note: str

    def row(self, device: str) -> dict[str, Any]:
        """The row of `--json`; `tokens` are those that the method reads, padding included."""
        return {
            "method": self.method,
            "prefix_tokens": self.case.prefix,
            "suffix_tokens": self.case.suffix,
            "candidates": self.case.candidates,
            "seconds": self.timing.seconds,
            "tokens": self.tokens,
            "peak_mb": self.timing.peak_mb,
            "device": device,
        }


@dataclass
class Runner:
    """Runs cases one after another; `limit_seconds` bounds a call, judged from an earlier smaller case."""

    methods: Methods
    operations: Operations
    repeats: int
    limit_seconds: float | None = None
    results: list[Result] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def run(self, cases: Sequence[Case], names: Sequence[str]) -> list[Result]:
        """Results by case and method. Raises `ModelError` for a wrong value, `ConfigError` where nothing was left."""
        with stage("benchmark", len(cases)) as work:
            for case in cases:
                self._run_case(case, names)
                work.advance(str(case))
        if not self.results:
            raise ConfigError("bench: no method could take part; the lines above say why")
        return self.results

    def _run_case(self, case: Case, names: Sequence[str]) -> None:
        device = self.methods.subject.device
        inputs = Inputs(case, self.methods.subject.pool)
        check = self.methods.checker(inputs)
        methods, firsts = [], {}
        for name in names:
            method = self._build(name, inputs)
            first = None if method is None else self._attempt(name, case, partial(sample, method, device))
            if method is None or first is None:
                continue
            check(name, first.value)
            methods.append(method)
            firsts[name] = first
        timings = alternate(methods, firsts, self.repeats, device)
        for method in methods:
            operations = self.operations(method.work)
            timing = timings[method.name]
            self.results.append(Result(method.name, case, timing, method.work.tokens, operations, method.note))

    def _build(self, name: str, inputs: Inputs) -> Method | None:
        case = inputs.case
        expected = self._expected_seconds(name, case)
        if self.limit_seconds is not None and expected > self.limit_seconds:
            say(f"{name}: left out at {case}, where a call would take about {expected:,.0f} s")
            return None
        method = self._attempt(name, case, lambda: self.methods.build(name, inputs))
        if isinstance(method, LeftOut):
            self._say_once(f"{name}: left out, {method.reason}")
            return None
        return method

    def _expected_seconds(self, name: str, case: Case) -> float:
        """Seconds of a call as its largest smaller case lets expect; 0 where there was none."""
        operations = self.operations(self.methods.work(name, case))
        smaller = (result for result in self.results if result.method == name and result.operations <= operations)
        largest = max(smaller, key=lambda result: result.operations, default=None)
        return 0.0 if largest is None else largest.timing.seconds * operations / largest.operations

    def _attempt(self, name: str, case: Case, work: Callable[[], T]) -> T | None:
        """What `work` gives, None where memory ran out."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        release(self.methods.subject.device)
        say(f"{name}: left out at {case}, where memory ran out")
        return None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)
