"""What all tests share: one thread per process, a kernel cache of the run's own, and the count of comparisons with torch."""

import os
import tempfile
import warnings

import pytest

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
if "FLAMBEAU_CACHE_DIR" not in os.environ:
    _folder = tempfile.TemporaryDirectory(prefix="flambeau-tests-")
    os.environ["FLAMBEAU_CACHE_DIR"] = _folder.name


def pytest_terminal_summary(terminalreporter):
    """Say how many comparisons with torch were skipped, so that a green run without torch does not look like one with it."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and "'torch'" in str(report.longrepr[2])
    ]
    terminalreporter.write_line(f"comparisons with torch skipped: {len(skipped)}")


@pytest.fixture(autouse=True)
def infinities_are_results():
    """What `eager` asks for when it is imported, and pytest's own filters hide: NumPy's warnings from its kernels are not shown."""
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"eager\.")
