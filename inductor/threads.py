"""One thread budget for everything native: how many threads a step may use, and the pool that runs them.

The budget starts as what this process may really use (affinity, control-group quota, OMP_NUM_THREADS) and lives in one native cell that launch
programs read at every call. The pool is libgomp's (`GOMP_parallel`), which other libraries share; where it is missing, or after a fork, steps run
serially, and `pool()` says so. NumPy's BLAS is held to one thread while we split its work ourselves: see `single_threaded_blas`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import sys
from collections.abc import Iterator

_cell = (ctypes.c_int64 * 1)(0)
_forked = False


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
    _cell[0] = 1 if _forked else count


def cell_address() -> int:
    """Where native code reads the budget."""
    return ctypes.addressof(_cell)


@functools.cache
def _library() -> ctypes.CDLL | None:
    # A libgomp that is loaded already (by another package) is found by its name and shared.
    for name in ("libgomp.so.1", "libgomp.so"):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            library.GOMP_parallel  # noqa: B018  (AttributeError where it is missing)
            return library
    return None


@functools.cache
def parallel_address() -> int:
    """Address of `GOMP_parallel(function, data, threads, flags)`, or 0 where there is none."""
    library = _library() if sys.platform == "linux" else None
    if library is None:
        return 0
    return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0


def pool() -> str:
    """What runs the pieces of a split step: "libgomp", or "serial" and why."""
    if _forked:
        return "serial: libgomp's threads do not survive a fork"
    return "libgomp" if parallel_address() else "serial: libgomp was not found"


def _after_fork() -> None:
    # The child has libgomp's books but not its threads; a parallel region would wait for them forever.
    global _forked
    if parallel_address.cache_info().currsize:
        _forked = True
        _cell[0] = 1


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread, so that its pool and ours do not fight for the same cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


set_num_threads(available())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
