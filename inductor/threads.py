"""One thread budget for everything native: how many threads a step may use, and the pool that runs them.

The budget starts as what this process may really use (affinity, control-group quota, OMP_NUM_THREADS) and lives in one native cell that launch
programs read at every call; the threads are `pool.py`'s. NumPy's BLAS is held to one thread while we split its work ourselves: see
`single_threaded_blas`.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Iterator

_cell = (ctypes.c_int64 * 1)(0)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def _quota() -> float:
    """CPUs the control group grants, or infinity: version 2's `cpu.max`, version 1's quota and period."""
    fields = _read("/sys/fs/cgroup/cpu.max")
    if len(fields) != 2:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
        fields = [*quota, *period]
    if len(fields) != 2 or fields[0] in ("max", "-1"):
        return math.inf
    return int(fields[0]) / int(fields[1])


def available() -> int:
    """Threads this process can keep busy: affinity, quota, and OMP_NUM_THREADS where the user set it."""
    count = math.ceil(max(1, min(_affinity(), _quota())))
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(wish))) if wish.isdigit() and int(wish) > 0 else count


def get_num_threads() -> int:
    """The number of threads compiled code may use."""
    return _cell[0]


def set_num_threads(count: int) -> None:
    """Set the number of threads compiled code may use, from the next call on.

    Raises RuntimeError unless `count` is a positive integer.
    """
    if not isinstance(count, int) or count <= 0:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {count!r}")
    _cell[0] = count


def cell_address() -> int:
    """Where native code reads the budget."""
    return ctypes.addressof(_cell)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread, so that its pool and ours do not fight for the same cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


set_num_threads(available())
