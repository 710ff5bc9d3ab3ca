"""One thing that a survey found, how grave it is and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "look", "stop"]
SEVERITIES: tuple[Severity, ...] = ("stop", "look", "ok")


@dataclass(frozen=True)
class Finding:
    """`seen` has the numbers, `advice` one sentence on what to do; "stop" is for what makes results worthless."""

    topic: str
    severity: Severity
    seen: str
    advice: str


def graded(
    topic: str, seen: str, advice: str, *, look: bool, stop: bool = False, fine: str = "Nothing to do."
) -> Finding:
    """A finding with the severity that applies; `fine` is what to do where neither does."""
    severity: Severity = "stop" if stop else "look" if look else "ok"
    return Finding(topic, severity, seen, fine if severity == "ok" else advice)


def by_severity(findings: list[Finding]) -> list[Finding]:
    """The gravest first, otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def percent(share: float) -> str:
    """A share as a person reads it: 12.3 %, and never 0 % for what is there."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{share:.1%}".replace("%", " %").replace(".0 %", " %")
