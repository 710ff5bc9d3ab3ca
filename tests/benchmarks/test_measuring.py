"""What the numbers mean: rounds, medians, memory, operations, batch sizes, and how they are shown."""

from io import StringIO
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from rich.console import Console

from tiny import make_model
from trsr.benchmarks import batching
from trsr.benchmarks.batching import Batching
from trsr.benchmarks.cases import Case, growth
from trsr.benchmarks.plot import benchmark_plot
from trsr.benchmarks.running import Result, Runner
from trsr.benchmarks.table import benchmark_table
from trsr.benchmarks.timing import Method, PeakMemory, Sample, Timing, alternate
from trsr.benchmarks.work import Operations, Work, peak_operations, rows_of, shared
from trsr.ranking.packing import Part, Row

CPU = torch.device("cpu")
CASE = Case(800, 70, 21)
NOTHING = np.zeros(1, dtype=np.float32)


def result(method, seconds, case=CASE) -> Result:
    return Result(method, case, Timing(seconds, 500.0, 5), case.least, 1e12, "")


def test_methods_take_turns_and_slow_ones_take_part_in_fewer_rounds():
    turns = []
    seconds = {"fast": 1, "slow": 50, "slowest": 121}
    calls = {name: lambda name=name: (turns.append(name), NOTHING)[1] for name in seconds}
    methods = [Method(name, Work(1, 1), lambda call=call: call) for name, call in calls.items()]
    firsts = {name: Sample(taken, 1.0, NOTHING) for name, taken in seconds.items()}
    timings = alternate(methods, firsts, 3, CPU)
    assert turns == ["fast", "fast", "slow", "fast"]  # the first call of a slow one was a round
    assert {name: timing.runs for name, timing in timings.items()} == {"fast": 3, "slow": 2, "slowest": 1}
    assert timings["slowest"].seconds == 121


def test_the_median_counts(monkeypatch):
    seconds = iter([1.0, 9.0, 2.0])
    monkeypatch.setattr("trsr.benchmarks.timing.seconds_of", lambda call, device: (call(), next(seconds))[1])
    method = Method("one", Work(1, 1), lambda: lambda: NOTHING)
    assert alternate([method], {"one": Sample(1.0, 1.0, NOTHING)}, 3, CPU)["one"].seconds == 2.0


def test_peak_memory_sees_what_a_block_held_and_let_go():
    with PeakMemory(CPU) as nothing:
        pass
    with PeakMemory(CPU) as much:
        held = np.ones(200_000_000, dtype=np.uint8)
        assert held.sum() == 200_000_000
        del held
    assert much.mb - nothing.mb == pytest.approx(200, abs=40)


@pytest.mark.parametrize("case", [Case(7, 3, 4), Case(1, 1, 1)])
def test_the_pairs_of_a_shared_prefix_are_those_of_its_mask(case):
    row = Row.of([Part(range(case.prefix), [range(case.suffix)] * case.candidates)], CPU, "mask")
    assert shared(case).pairs == int(row.layout.mask(None).sum())
    assert shared(case).tokens == row.ids.shape[1] == case.least
    assert rows_of(2, case.prefix).pairs == 2 * int(torch.ones(case.prefix, case.prefix).tril().sum())


def test_operations_are_those_that_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    model = make_model("llama", vocabulary=320, attn_implementation="eager")
    length = 16
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.zeros(1, length, dtype=torch.long), use_cache=False)
    whole_attention = Work(length, length * length, length)  # this one computes what the mask throws away
    assert counter.get_total_flops() == Operations.of(model, training=False)(whole_attention)
    assert peak_operations(CPU, torch.bfloat16) is None


def test_a_call_is_expected_to_take_as_long_as_its_largest_smaller_case_says():
    class Methods:
        def work(self, name, case):
            return Work(case.least, 0)

    runner = Runner(Methods(), Operations(1.0, 0.0, 0.0), 1, 120.0)
    case = Case(800, 70, 10)
    assert runner._expected_seconds("trsr", case) == 0  # not known yet: it is tried
    runner.results += [
        Result("trsr", smaller, Timing(seconds, 1.0, 1), smaller.least, float(smaller.least), "")
        for smaller, seconds in ((Case(800, 70, 2), 1.0), (Case(800, 70, 5), 2.0), (Case(800, 70, 50), 99.0))
    ]
    assert runner._expected_seconds("trsr", case) == pytest.approx(2.0 * 1500 / 1150)
    assert runner._expected_seconds("limit", case) == 0


def test_growth_goes_to_a_thousand_candidates_and_four_thousand_tokens():
    grown = growth(Case(800, 70, 21))
    assert len(grown) == len(set(grown))
    assert {case.candidates for case in grown if case.prefix == 800} >= {2, 21, 200, 1000}
    assert {case.prefix for case in grown if case.candidates == 21} >= {200, 800, 4000}


def test_the_batch_size_that_takes_least_time_a_prompt_is_taken_and_remembered(monkeypatch):
    seconds = {1: 1.0, 4: 4.0, 8: 8.8, 21: 10.5, 50: 30.0, 64: 64.0}
    tried = []
    monkeypatch.setattr(batching, "seconds_of", lambda call, device: (call(), seconds[tried[-1]])[1])
    sizes = Batching(CPU)
    assert sizes.taken("batched", Case(10, 2, 100)) == 1
    for _ in range(2):
        assert sizes.fastest("batched", Case(10, 2, 100), tried.append) == 21
    # one call warms up, cheap sizes are timed twice, and 8, which gained nothing, is not the end
    assert tried == [1, 1, 1, 4, 4, 8, 21, 64]
    assert sizes.taken("batched", Case(10, 2, 100)) == 21
    assert sizes.fastest("batched", Case(10, 2, 50), tried.append) == 21
    assert sizes.fastest("batched", Case(10, 2, 3), tried.append) == 3
    assert tried[8:] == [50]  # what was timed for more candidates is known


def test_a_size_that_takes_twice_as_long_a_prompt_is_the_end(monkeypatch):
    seconds = {1: 1.0, 4: 4.0, 8: 16.0}
    tried = []
    monkeypatch.setattr(batching, "seconds_of", lambda call, device: (call(), seconds[tried[-1]])[1])
    assert Batching(CPU).fastest("batched", Case(10, 2, 100), tried.append) == 4
    assert max(tried) == 8


def test_a_size_that_half_of_the_memory_would_not_hold_is_not_tried(monkeypatch):
    class Peak:
        def __init__(self, device):
            self.mb = 0.0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.mb = 1000.0 + 100.0 * tried[-1]

    tried = []
    monkeypatch.setattr(batching, "seconds_of", lambda call, device: (call(), float(tried[-1]) ** 0.5)[1])
    monkeypatch.setattr(batching, "PeakMemory", Peak)
    monkeypatch.setattr(batching, "free_bytes", lambda device: 4e9)  # half of it is 20 prompts
    assert Batching(CPU).fastest("batched", Case(10, 2, 100), tried.append) == 8
    assert max(tried) == 8


def test_a_batch_that_does_not_fit_is_not_taken(monkeypatch):
    tried = []

    def run(size):
        tried.append(size)
        if size > 8:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(batching, "seconds_of", lambda call, device: (call(), 1.0)[1])
    sizes = Batching(CPU)
    for count in (100, 200):
        assert sizes.fastest("batched", Case(10, 2, count), run) == 8
    assert tried.count(21) == 1  # what did not fit is not tried again


def test_the_table_compares_with_ours_and_with_the_limit():
    results = [result("batched", 18.0), result("trsr", 3.0), result("limit", 2.4)]
    console = Console(width=140, record=True, file=StringIO())
    console.print(benchmark_table(results, 1e12))
    cells = {line.split()[0]: line.split()[1:] for line in console.export_text().splitlines() if "800" in line}
    assert cells["batched"] == ["800", "70", "21", "18", "5", "126", "6.00", "7.50", "500", "5.6%"]
    assert cells["trsr"] == ["800", "70", "21", "3", "5", "757", "1.00", "1.25", "500", "33.3%"]


def test_the_plot_has_a_line_for_each_method_and_a_panel_for_each_growing_size():
    grown = [
        result(method, seconds * case.least, case)
        for case in (Case(800, 70, 2), Case(800, 70, 21), Case(800, 70, 200), Case(200, 70, 21), Case(4000, 70, 21))
        for method, seconds in (("batched", 2e-2), ("trsr", 1e-3), ("limit", 0.99e-3))
    ]
    space = "{http://www.w3.org/2000/svg}"
    tree = ElementTree.fromstring(benchmark_plot(grown, "scoring: a <model>"))
    assert tree.find(f"{space}title").text == "scoring: a <model>"
    panels = tree.findall(f"{space}g")
    titles = [panel.find(f"{space}text").text for panel in panels]
    assert titles == ["seconds over candidates (P 800, S 70)", "seconds over tokens of the prefix (N 21, S 70)"]
    for panel in panels:
        lines = {group.get("class"): group for group in panel.findall(f"{space}g")}
        assert lines.keys() == {"batched", "trsr", "limit"}
        assert all(len(group.findall(f"{space}circle")) == 3 for group in lines.values())
        labels = sorted(float(group.find(f"{space}text").get("y")) for group in lines.values())
        assert min(np.diff(labels)) >= 13  # trsr and limit lie on each other, their names do not
    assert len(ElementTree.fromstring(benchmark_plot([result("trsr", 3.0)], "one")).findall(f"{space}g")) == 1
