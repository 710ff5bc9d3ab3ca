"""Does the summary help, by how much, and at what cost? The rankers that read one beside those that read none."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from trsr.evaluation.comparisons import CONTROLS, RECENT, WITH_SUMMARY, Comparison, sentence
from trsr.evaluation.costs import cost_of, count_text, seconds_text
from trsr.evaluation.result_sections import comparison_header, comparison_row
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.run_groups import RunGroup, Variant
from trsr.evaluation.sections import Section, Table, TableRow
from trsr.evaluation.table import UNKNOWN, number


@dataclass(frozen=True)
class SummaryTest:
    """One test of a ranker with a summary against one without; `label` tells the run from others."""

    label: str
    run: RunFiles
    test: Comparison

    @property
    def tokens(self) -> tuple[str, str]:
        """For one test example, the writing of the summary included: of the one and of the other."""
        one, other = (cost_of(model, self.run).all_tokens for model in (self.test.model, self.test.against))
        return count_text(one), count_text(other)

    @property
    def seconds(self) -> tuple[str, str]:
        """The same in seconds."""
        tested = self.run.numbers("data", "examples").get("test", 1)
        one, other = (cost_of(model, self.run).all_seconds for model in (self.test.model, self.test.against))
        return seconds_text(one, tested), seconds_text(other, tested)


def summary_section(group: RunGroup) -> Section | None:
    """Every ranker with a summary against those without in its run, in the leading metric and in cost."""
    found = [
        SummaryTest(label, run, test)
        for label, run, test in group.comparisons(group.lead)
        if test.model in WITH_SUMMARY and test.against in CONTROLS and group.lead in run.metrics.get(test.model, {})
    ]
    if not found:
        return None
    several = len(group.runs) > 1
    header = [*comparison_header(run=several), "tokens of both", "seconds of both"]
    table = Table(
        header, [_row(one, several) for one in found], caption="Rankers with a summary beside rankers without"
    )
    return Section("Does the summary help?", _note(group, found), tables=[table])


def _row(one: SummaryTest, several: bool) -> TableRow:
    cells = comparison_row(one.test, *([one.label] if several else []))
    return [*cells, " / ".join(one.tokens), " / ".join(one.seconds)]


def _note(group: RunGroup, found: Sequence[SummaryTest]) -> str:
    """The answer of the first settings that have one, not of those where it looks best."""
    of_variants = (
        (variant, [one for one in found if any(one.run is run for run in variant.runs)]) for variant in group.variants
    )
    variant, own = next((variant, own) for variant, own in of_variants if own)
    tests = _asked(group, variant, own)
    first = tests[0]
    told = f"{first.test.model} stands highest of the rankers with a summary that were tested"
    told += f" in the run {variant.label}. " if variant.label else ". "
    told += f"{_over_seeds(tests) if len(tests) > 1 else sentence(first.test)}.{_cost(first)}"
    if any(one.test.against == RECENT for one in found):
        told += f" {RECENT} reads recent items in the room that a summary has in the prompt."
    told += (
        " Tokens and seconds are those of ranking for one test example and of writing its summary; the seconds of "
        "summaries are unknown where most of their calls had been made before."
    )
    if len(group.runs) > 1:
        told += " Every run corrects p for its own tests, and not for the number of runs."
    return told


def _asked(group: RunGroup, variant: Variant, of_variant: Sequence[SummaryTest]) -> list[SummaryTest]:
    """The tests, one for each seed, of the best ranker with a summary, against recent items where there are such."""
    means = {model: values[group.lead]["mean"] for model, values in variant.metrics.items() if group.lead in values}
    best = max((one.test.model for one in of_variant), key=lambda model: means.get(model, float("-inf")))
    of_best = [one for one in of_variant if one.test.model == best]
    against = RECENT if any(one.test.against == RECENT for one in of_best) else of_best[0].test.against
    return [one for one in of_best if one.test.against == against]


def _over_seeds(tests: Sequence[SummaryTest]) -> str:
    """The differences of several seeds, of which no single one is the answer."""
    one, differences = tests[0].test, [one.test.difference for one in tests]
    return (
        f"Over {len(tests)} seeds it differs from {one.against} by {number(mean(differences))} in {one.metric} on "
        f"average, {number(min(differences))} to {number(max(differences))}"
    )


def _cost(one: SummaryTest) -> str:
    """What it takes beside the other, as far as the run says; of several seeds, the first."""
    both = {"tokens": one.tokens, "seconds": one.seconds}
    told = [
        f"{own} {unit} where {one.test.against} takes {other}"
        for unit, (own, other) in both.items()
        if UNKNOWN not in (own, other)
    ]
    return f" {one.test.model} takes {', and '.join(told)}." if told else ""
