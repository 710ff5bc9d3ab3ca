"""Does the summary help, by how much, and at what cost? The rankers that read one beside those that read none."""

from collections.abc import Sequence
from statistics import mean

from trsr.evaluation.comparisons import CONTROLS, RECENT, WITH_SUMMARY, sentence
from trsr.evaluation.costs import cost_of, count_text, seconds_text
from trsr.evaluation.result_sections import FIRST_SEED, NOT_FOR_RUNS, comparison_header, comparison_row
from trsr.evaluation.run_groups import PairedTest, RunGroup
from trsr.evaluation.sections import Section, Table, TableRow
from trsr.evaluation.table import UNKNOWN, number
from trsr.evaluation.variants import Variant


def summary_section(group: RunGroup) -> Section | None:
    """Every ranker with a summary against those without in its run, in the leading metric and in cost."""
    found = [
        one
        for one in group.comparisons(group.lead)
        if one.test.model in WITH_SUMMARY
        and one.test.against in CONTROLS
        and all(group.lead in one.run.metrics.get(model, {}) for model in (one.test.model, one.test.against))
    ]
    if not found:
        return None
    several = any(one.label for one in found)
    header = [*comparison_header(run=several), "tokens of both", "seconds of both"]
    table = Table(
        header, [_row(one, several) for one in found], caption="Rankers with a summary beside rankers without"
    )
    return Section("Does the summary help?", _note(group, found), tables=[table])


def _tokens(one: PairedTest) -> tuple[str, str]:
    """For one test example, the writing of the summary included: of the one and of the other model."""
    both = (cost_of(model, one.run).all_tokens for model in (one.test.model, one.test.against))
    model, against = map(count_text, both)
    return model, against


def _seconds(one: PairedTest) -> tuple[str, str]:
    """The same in seconds."""
    tested = one.run.numbers("data", "examples").get("test", 1)
    both = (cost_of(model, one.run).all_seconds for model in (one.test.model, one.test.against))
    model, against = (seconds_text(seconds, tested) for seconds in both)
    return model, against


def _row(one: PairedTest, several: bool) -> TableRow:
    cells = comparison_row(one.test, *([one.label] if several else []))
    return [*cells, " / ".join(_tokens(one)), " / ".join(_seconds(one))]


def _note(group: RunGroup, found: Sequence[PairedTest]) -> str:
    """The answer of the first settings that have one, not of those where it looks best."""
    variant = found[0].variant
    first = _asked(group, variant, [one for one in found if one.variant is variant])
    told = f"{first.test.model} stands highest of the rankers with a summary that were tested"
    told += f" in the run {variant.label}. " if variant.label else ". "
    told += _answer(first) + _cost(first)
    if any(one.test.against == RECENT for one in found):
        told += f" {RECENT} reads recent items in the room that a summary has in the prompt."
    told += (
        " Tokens and seconds are those of ranking for one test example and of writing its summary; the seconds of "
        "summaries are unknown where most of their calls had been made before."
    )
    if any(one.variant.several for one in found):
        told += f" {FIRST_SEED}"
    if any(one.label for one in found):
        told += f" {NOT_FOR_RUNS}"
    return told


def _asked(group: RunGroup, variant: Variant, of_variant: Sequence[PairedTest]) -> PairedTest:
    """The test, of several seeds the first, of the best ranker with a summary, against recent items if there is one."""
    means = {model: values[group.lead]["mean"] for model, values in variant.metrics.items() if group.lead in values}
    best = max((one.test.model for one in of_variant), key=lambda model: means.get(model, float("-inf")))
    of_best = [one for one in of_variant if one.test.model == best]
    return next((one for one in of_best if one.test.against == RECENT), of_best[0])


def _answer(one: PairedTest) -> str:
    """The test in words; of several seeds their mean difference, for no single one is the answer."""
    runs, test = one.variant.runs, one.test
    if not one.variant.several:
        return f"{sentence(test)}."
    pairs = [[run.metrics.get(model, {}).get(test.metric) for model in (test.model, test.against)] for run in runs]
    differences = [model["mean"] - against["mean"] for model, against in pairs if model and against]
    bounds = f"{number(min(differences))} to {number(max(differences))}"
    if one.variant.pooled is not None:
        return f"Over {len(runs)} seeds, {sentence(test)}. From seed to seed the difference is {bounds}."
    told = f"{number(mean(differences))} in {test.metric} on average, {bounds}"
    return f"Over {len(differences)} seeds it differs from {test.against} by {told}."


def _cost(one: PairedTest) -> str:
    """What it takes beside the other, as far as the run says; of several seeds, the first."""
    both = {"tokens": _tokens(one), "seconds": _seconds(one)}
    told = [
        f"{own} {unit} where {one.test.against} takes {other}"
        for unit, (own, other) in both.items()
        if UNKNOWN not in (own, other)
    ]
    return f" {one.test.model} takes {', and '.join(told)}." if told else ""
