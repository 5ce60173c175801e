"""The thread budget: how many threads this process may use for what it computes itself, and large
elementwise work of NumPy shared between them.

The budget starts as what the process may really use (affinity, control-group quota,
OMP_NUM_THREADS) and lives in one native cell, which compiled programs read at every call.
"""

from __future__ import annotations

import ctypes
import math
import os
import time
from collections.abc import Callable
from typing import Any

_cell = (ctypes.c_int64 * 1)(0)
_pool: list[Any] = []


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


_known_quota = [-math.inf, math.inf]  # when it was read, and what it was
PATIENCE = 1.0
"""Seconds for which a quota is believed: compiling asks thousands of times."""


def _quota() -> float:
    """CPUs the control group grants, or infinity."""
    now = time.monotonic()
    if now - _known_quota[0] > PATIENCE:
        _known_quota[:] = now, _read_quota()
    return _known_quota[1]


def _read_quota() -> float:
    """From the files of version 2, `cpu.max`, or of version 1, quota and period."""
    fields = _read("/sys/fs/cgroup/cpu.max")
    if len(fields) != 2:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
        fields = [*quota, *period]
    if len(fields) != 2 or fields[0] in ("max", "-1"):
        return math.inf
    return int(fields[0]) / int(fields[1])


def available() -> int:
    """Threads this process can keep busy: affinity, quota, and OMP_NUM_THREADS where the user set
    it.
    """
    count = math.ceil(max(1, min(_affinity(), _quota())))
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(wish))) if wish.isdigit() and int(wish) > 0 else count


def get_num_threads() -> int:
    """The number of threads that operators and compiled code may use."""
    return _cell[0]


def set_num_threads(count: int) -> None:
    """Set the number of threads that operators and compiled code may use, from the next call on.

    Raises RuntimeError unless `count` is a positive integer.
    """
    if not isinstance(count, int) or count <= 0:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {count!r}")
    _cell[0] = count


def cell_address() -> int:
    """Where native code reads the budget."""
    return ctypes.addressof(_cell)


def share(work: Callable[[int, int], None], count: int, least: int) -> None:
    """Calls `work(start, stop)` for parts of range(count), at least `least` each, on as many
    threads as the budget allows; the last part runs here. Raises what a part raises.

    `work` must leave the interpreter to others: whole arrays, not Python. Grad mode and
    interpreters belong to a thread: none of the caller's is seen.
    """
    parts = max(1, min(get_num_threads(), count // max(least, 1)))
    if parts == 1:
        work(0, count)
        return
    ends = [count * n // parts for n in range(parts + 1)]
    helpers = _helpers(parts - 1)
    waiting = [helpers.submit(work, *pair) for pair in zip(ends[:-2], ends[1:-1], strict=True)]
    try:
        work(ends[-2], count)
    finally:
        for part in waiting:
            part.exception()
    for part in waiting:
        part.result()


def _helpers(count: int) -> Any:
    """A pool with that many threads at least."""
    if not _pool or _pool[0]._max_workers < count:
        from concurrent.futures import ThreadPoolExecutor

        _pool[:] = [ThreadPoolExecutor(count, "flambeau")]
    return _pool[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)  # threads do not come along
set_num_threads(available())
