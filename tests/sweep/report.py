"""The table of outcomes, its summary, and the document that holds it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.sweep.census import NAMES, absent
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
        return list(dict.fromkeys(why for o in self.outcomes for why in EXPECTED.get(o.label, {}).values()))

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


# -- the document ----------------------------------------------------------------------------------

_HEAD = """# Operators, checked against torch

Written by `python -m tests.sweep --write docs/operators.md`; `tests/roof/test_sweep.py` holds it to the code. Every entry of torch
2.13's own operator database (OpInfo, {labels} entries of {names} names) is swept: up to {samples} of its samples each in float32 and
int64 (complex64 where it takes neither) go through flambeau and torch, as function, method, operator symbol, in-place form and with
`out=`, and must agree in values (within torch's own tolerances), type, shape, and in being a view (with its strides) or a copy; gradients
and second gradients in float64, and in complex128 where torch has them; and what torch refuses must be refused with its class of
exception. Random operators must draw from the same distribution.

**{summary}.**

A sample passes if nothing at all differs. *Expected failure*: what differs is known, and the reason stands in the table; the rest of
the entry agrees. *Skipped*: torch's entry is not for a CPU without further software. Of the {census} names at torch's level that 164
models call (a census of the Hugging Face, timm and TorchBench lists), flambeau has {present}{lacking}.

| name | family | status | samples passed | remarks |
|---|---|---|---|---|
"""


def document(table: list[Row], labels: int, samples: int) -> str:
    """The document: what was swept, the summary, one line per name."""
    lacking = absent()
    head = _HEAD.format(
        labels=labels, names=len(table), samples=samples, summary=summary(table), census=len(NAMES), present=len(NAMES) - len(lacking),
        lacking=f"; it lacks {', '.join(f'`{name}`' for name in lacking)}" if lacking else "",
    )  # fmt: skip
    return head + "".join(map(_line, table))


def _line(row: Row) -> str:
    remarks = skip_reason(row.name) or "; ".join(row.reasons()) or ("not implemented" if row.missing else "")
    if row.status == "failed":
        remarks = row.unexpected()[0].split(" | ")[0].replace("|", "/")
    count = f"{row.passed} of {row.tried}" if row.tried else ""
    return f"| `{row.name}` | {family(row.name)} | {row.status} | {count} | {remarks} |\n"


def read(text: str) -> dict[str, tuple[str, str, str, str]]:
    """The rows of a document by name: family, status, samples, remarks."""
    rows = [line.strip("|\n ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): tuple(c.strip() for c in (*cells[1:], "", "", "", "")[:4]) for cells in rows}  # type: ignore[misc]
