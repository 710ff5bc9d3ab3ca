"""Does the summary help, by how much, and at what cost? The rankers that read one beside those that read none."""

from dataclasses import dataclass

from trsr.config import TUNED
from trsr.evaluation.comparisons import CONTROLS, Comparison, sentence
from trsr.evaluation.costs import Cost, cost_of
from trsr.evaluation.result_sections import COMPARISON_HEADER, comparison_row
from trsr.evaluation.run_files import RunFiles
from trsr.evaluation.run_groups import RunGroup
from trsr.evaluation.sections import Section, Table, TableRow
from trsr.evaluation.table import UNKNOWN

METHODS = tuple(f"{TUNED}{method}" for method in ("extractive", "hierarchical", "recurrent"))
"""The tuned rankers that read a summary."""
RECENT = f"{TUNED}recent"


@dataclass(frozen=True)
class Asked:
    """One test of a ranker with a summary against one without; `label` tells the run from others."""

    label: str
    run: RunFiles
    test: Comparison

    @property
    def costs(self) -> tuple[Cost, Cost]:
        """Of the ranker with a summary and of the other."""
        return cost_of(self.test.model, self.run), cost_of(self.test.against, self.run)

    @property
    def tokens(self) -> str:
        """Of both, with those of writing the summary."""
        own, other = self.costs
        return _beside(own.all_tokens, other.all_tokens, ",.0f")

    @property
    def seconds(self) -> str:
        """Of both, with those of writing the summary."""
        own, other = self.costs
        return _beside(own.all_seconds, other.all_seconds, ".2g")


def summary_section(group: RunGroup) -> Section | None:
    """Every ranker with a summary against every one without, in the leading metric and in cost."""
    found = [
        Asked(label, run, test)
        for label, run, test in group.comparisons(group.lead)
        if test.model in METHODS and test.against in CONTROLS
    ]
    if not found:
        return None
    several = len(group.runs) > 1
    rows = [_row(asked, several) for asked in found]
    name, *rest = COMPARISON_HEADER
    header = [name, *(["run"] if several else []), *rest, "tokens", "seconds"]
    table = Table(header, rows, caption="Rankers with a summary beside rankers without")
    return Section("Does the summary help?", _note(group, found), tables=[table])


def _row(asked: Asked, several: bool) -> TableRow:
    return [*comparison_row(asked.test, *([asked.label] if several else [])), asked.tokens, asked.seconds]


def _beside(one: float | None, other: float | None, form: str) -> str:
    """`815 for 90`, where both are known."""
    return UNKNOWN if one is None or other is None else f"{one:{form}} for {other:{form}}"


def _note(group: RunGroup, found: list[Asked]) -> str:
    """The answer for the best ranker with a summary, against recent items where the run has them."""
    best = max(found, key=lambda asked: asked.run.metrics[asked.test.model][group.lead]["mean"])
    alike = [asked for asked in found if asked.run is best.run and asked.test.model == best.test.model]
    first = next((asked for asked in alike if asked.test.against == RECENT), best)
    place = f", of the run {first.label}" if first.label else ""
    told = f"Of rankers with a summary the best is {first.test.model}{place}. {sentence(first.test)}.{_cost(first)}"
    if any(asked.test.against == RECENT for asked in found):
        told += f" {RECENT} reads recent items for the tokens that a summary would take."
    return f"{told} Tokens and seconds are those of summary and ranking for one test example."


def _cost(asked: Asked) -> str:
    """What it takes beside the other, as far as the run says."""
    known = {"tokens": asked.tokens, "seconds": asked.seconds}
    told = [amount.replace(" ", f" {unit} ", 1) for unit, amount in known.items() if amount != UNKNOWN]
    return f" It takes {' and '.join(told)}." if told else ""
