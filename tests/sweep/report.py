"""The table of outcomes, its summary, and the document that holds it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.sweep.checks import Outcome
from tests.sweep.database import family, skip_reason
from tests.sweep.expected import EXPECTED


@dataclass
class Row:
    """One name of the database: the outcomes of its entries, judged."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)
    complete: bool = True

    @property
    def tried(self) -> int:
        return sum(o.tried for o in self.outcomes)

    @property
    def passed(self) -> int:
        return sum(o.passed for o in self.outcomes)

    @property
    def missing(self) -> str:
        return next((o.missing for o in self.outcomes if o.missing), "")

    def unexpected(self) -> list[str]:
        """What fails and is not listed, and what is listed and does not fail."""
        found = []
        for outcome in self.outcomes:
            listed = EXPECTED.get(outcome.label, {})
            failed = {check for check, _, _ in outcome.failures} | ({"missing"} if outcome.missing else set())
            for check, where, message in outcome.failures:
                if check not in listed:
                    found.append(f"{outcome.label} {check}: {message} | {where}")
            if self.complete:
                found += [f"{outcome.label}: {check} is listed as failing and passes" for check in listed if check not in failed]
        return found

    def reasons(self) -> list[str]:
        """The reasons of the failures that are listed."""
        return [why for o in self.outcomes for why in EXPECTED.get(o.label, {}).values()]

    @property
    def status(self) -> str:
        if skip_reason(self.name):
            return "skipped"
        if self.unexpected():
            return "failed"
        if self.missing:
            return "missing"
        if self.reasons():
            return "expected failure"
        return "passed" if self.tried else "untried"


def rows(outcomes: list[Outcome], names: dict[str, str], complete: bool) -> list[Row]:
    """Outcomes by name; `names` gives the name of each label."""
    found: dict[str, Row] = {}
    for name in names.values():
        found.setdefault(name, Row(name, complete=complete))
    for outcome in outcomes:
        found[names[outcome.label]].outcomes.append(outcome)
    return [found[name] for name in sorted(found)]


def summary(table: list[Row]) -> str:
    counts = Counter(row.status for row in table)
    covered = counts["passed"] + counts["expected failure"]
    tried, passed = sum(r.tried for r in table), sum(r.passed for r in table)
    kinds = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    return f"{covered} of {len(table)} names covered ({kinds}); {passed} of {tried} samples pass"


def grouped(table: list[Row], status: str) -> str:
    groups = defaultdict(list)
    for row in table:
        if row.status == status:
            groups[family(row.name)].append(row.name)
    return "\n".join(f"  {kind} ({len(names)}): {' '.join(names)}" for kind, names in sorted(groups.items()))


def failures(table: list[Row], verbose: bool) -> str:
    lines = []
    for row in table:
        seen = set()
        for text in row.unexpected():
            key = text.split(":")[0]
            if verbose or key not in seen:
                lines.append(text[:400])
            seen.add(key)
    return "\n".join(lines)
