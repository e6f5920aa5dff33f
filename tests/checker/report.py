"""The verdict on a run: what was counted, what was broken, and how much the absence of loss says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .collector import collector_paused
from .history import History
from .invariants import INVARIANTS
from .observations import Observations
from .records import Recv, Reset, Resume
from .verdicts import Rules, Violation, ViolationClass

SHOWN_PER_CLASS = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a run did; the weight of its verdict."""

    records: int
    sends: int
    acknowledged: int
    unknown_outcomes: int
    refused: int
    deliveries: int
    entries_read: int
    stored: int
    conversations: int
    sessions: int
    resumes: int
    resets: int
    faults: int
    torn_lines: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `check`."""

    counts: Counts
    violations: tuple[Violation, ...]

    @property
    def clean(self) -> bool:
        """Whether no invariant was broken."""
        return not self.violations

    @property
    def per_class(self) -> Mapping[ViolationClass, int]:
        """How many violations each class has, zeros included."""
        found = Counter(violation.violation_class for violation in self.violations)
        return {violation_class: found[violation_class] for violation_class in ViolationClass}

    def of(self, violation_class: ViolationClass) -> list[Violation]:
        """Return the violations of one class."""
        return [violation for violation in self.violations if violation.violation_class is violation_class]

    @property
    def confidence(self) -> str:
        """Say what the number of lost messages bounds.

        With none lost in N independent trials, the true rate is below 3/N with 95 % confidence (the rule of three:
        https://en.wikipedia.org/wiki/Rule_of_three_(statistics)).
        """
        acknowledged = self.counts.acknowledged
        if not acknowledged:
            return "Nothing was acknowledged: this run says nothing about loss."
        lost = self.per_class[ViolationClass.LOST]
        if lost:
            return f"{lost} findings of loss with {acknowledged:,} acknowledged messages."
        per_million = 3e6 / acknowledged
        return (
            f"0 lost in {acknowledged:,} acknowledged: the loss rate is below 3/{acknowledged} "
            f"= {per_million:,.3g} per million at 95 % confidence, for the load and faults of this run."
        )

    def render(self) -> str:
        """Return the report for people; at most 20 violations of each class are written out."""
        lines = ["CLEAN" if self.clean else "BROKEN", ""]
        lines += [f"{name.replace('_', ' '):>17}  {value:,}" for name, value in asdict(self.counts).items()]
        lines += ["", *(f"{name.value.replace('_', ' '):>17}  {value:,}" for name, value in self.per_class.items())]
        lines += ["", self.confidence]
        for violation_class in ViolationClass:
            violations = self.of(violation_class)
            if violations:
                lines += ["", f"{violation_class.value.replace('_', ' ')}: {len(violations):,}"]
                lines += [_line(violation) for violation in violations[:SHOWN_PER_CLASS]]
            if len(violations) > SHOWN_PER_CLASS:
                lines.append(f"  … and {len(violations) - SHOWN_PER_CLASS:,} more")
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as plain values, for JSON."""
        return {
            "clean": self.clean,
            "counts": asdict(self.counts),
            "per_class": {name.value: value for name, value in self.per_class.items()},
            "confidence": self.confidence,
            "violations": [asdict(violation) for violation in self.violations],
        }


def check(history: History, rules: Rules | None = None) -> Report:
    """Judge a run by every invariant.

    Args:
        history: the merged records, in time order.
        rules: which witnesses the run must have, and its limits; all of them by default.
    """
    judged = rules if rules is not None else Rules()
    with collector_paused():
        seen = Observations(history.records)
        violations = tuple(
            replace(violation, invariant=invariant.__name__) for invariant in INVARIANTS for violation in invariant(seen, judged)
        )
        return Report(_count(history, seen), violations)


def _count(history: History, seen: Observations) -> Counts:
    claims = list(seen.all_claims())
    answers = [event for key in seen.resumed for event in seen.streams[key] if not isinstance(event, Recv)]
    return Counts(
        records=len(history.records),
        sends=len(claims),
        acknowledged=sum(claim.first_ok is not None for claim in claims),
        unknown_outcomes=sum(claim.uncertain for claim in claims),
        refused=sum(claim.never_happened for claim in claims),
        deliveries=seen.deliveries,
        entries_read=sum(len(page.entries) for page in seen.pages),
        stored=len(seen.store_rows),
        conversations=len(seen.known),
        sessions=len(seen.sessions),
        resumes=sum(isinstance(event, Resume) and event.phase == "ok" for event in answers),
        resets=sum(isinstance(event, Reset) for event in answers),
        faults=sum(nemesis.phase == "start" for nemesis in seen.nemeses),
        torn_lines=history.torn_lines,
    )


def _line(violation: Violation) -> str:
    ids = {
        "conversation": violation.conversation_id,
        "message": violation.message_id,
        "number": violation.sequence_number or "",
        "user": violation.user_id,
        "session": violation.session_id,
    }
    named = " ".join(f"{name}={value}" for name, value in ids.items() if value)
    seen_in = f" [{', '.join(violation.evidence)}]" if violation.evidence else ""
    return f"  {violation.invariant}: {violation.detail} ({named}){seen_in}"
