"""docs/operators.md is true: a sample of its rows, swept again with few samples, gives what they say; names, counts, reasons agree."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINES = (ROOT / "docs" / "operators.md").read_text().splitlines()
ROWS = {line.split("`")[1]: [cell.strip() for cell in line.strip("|").split(" | ")] for line in LINES if line.startswith("| `")}
SWEPT = sorted(name for name, (_, _, status, *_) in ROWS.items() if status in ("passed", "expected failure"))
CHOSEN = random.Random(2).sample(SWEPT, 40)


@pytest.fixture(scope="module")
def sweep():
    """The sweep's modules; its root becomes importable."""
    pytest.importorskip("torch")
    pytest.importorskip("expecttest", reason="torch's operator database imports it")
    sys.path.insert(0, str(ROOT))
    try:
        import tests.sweep.checks as checks
        import tests.sweep.database as database
        import tests.sweep.expected as expected
        import tests.sweep.report as report
    finally:
        sys.path.remove(str(ROOT))
    return checks, database, expected.EXPECTED, report


@pytest.mark.torch
def test_document_has_every_name_and_its_summary_counts_them(sweep):
    _, database, _, report = sweep
    assert list(ROWS) == sorted({op.name for op in database.entries().values()})
    statuses = Counter(row[2] for row in ROWS.values())
    counts = [[int(n) for n in row[3].split(" of ")] for row in ROWS.values() if row[3]]
    text = "\n".join(LINES)
    assert f"{statuses['passed'] + statuses['expected failure']} of {len(ROWS)} names covered" in text
    assert f"{sum(p for p, _ in counts)} of {sum(t for _, t in counts)} samples pass" in text
    assert statuses["failed"] == 0
    for name, row in ROWS.items():
        assert row[1] == database.family(name)
        assert (row[2] == "skipped") == bool(database.skip_reason(name))


@pytest.mark.torch
def test_expected_failures_are_those_of_the_document(sweep):
    _, database, expected, _ = sweep
    known = database.entries()
    assert not [label for label in expected if label not in known]
    named = {known[label].name for label, checks in expected.items() if set(checks) != {"missing"}}
    assert named == {name for name, row in ROWS.items() if row[2] == "expected failure"}


@pytest.mark.torch
def test_names_called_missing_are_missing(sweep):
    from tests.sweep.convert import Missing, function

    checks, database, _, _ = sweep
    for op in database.entries().values():
        if ROWS[op.name][2] == "missing" and op.variant_test_name == "":
            try:
                function(op)
            except Missing:
                continue
            assert checks.sweep(op, op.name, checks.Options(samples=1, gradients=False, errors=False)).missing


@pytest.mark.torch
def test_models_find_what_they_call(sweep):
    from tests.sweep.census import NAMES, absent

    lacking = absent()
    text = " ".join(LINES)
    assert f"Of the {len(NAMES)} names" in text and f"flambeau has {len(NAMES) - len(lacking)}" in text
    assert all(f"`{name}`" in text for name in lacking)


@pytest.mark.torch
@pytest.mark.parametrize("name", CHOSEN)
def test_row_is_what_a_sweep_gives(sweep, name):
    checks, database, expected, _ = sweep
    for label, op in database.entries().items():
        if op.name == name:
            found = checks.sweep(op, label, checks.Options(samples=3))
            listed = expected.get(label, {})
            assert not found.missing
            assert [f for f in found.failures if f[0] not in listed] == []
