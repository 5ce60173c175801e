"""Compiling with all cores: forked workers compile shares of a graph's kernels and templates into
the cache, from which the parent loads them.

A worker only ever adds whole entries to the cache on disk, so one that fails or is killed costs
time and nothing else: what is missing afterwards, the parent compiles. Forking is left alone where
it could go wrong (other Python threads, other systems than Linux) and where it does not pay (one
core, few jobs).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence

FEWEST_JOBS = 4
MOST_JOBS = 8192
"""Numbers of jobs that fit into a pipe while nobody reads; the rest is left for whoever needs the results."""
PATIENCE = 120.0
"""Seconds after which a worker that does not end is killed."""

Job = Callable[[], object]
Tell = Callable[[int], None]


def workers_for(jobs: int, cores: int) -> int:
    """How many processes, this one included, share so many jobs."""
    alone = threading.active_count() > 1 or not sys.platform.startswith("linux")
    if alone or cores < 2 or jobs < FEWEST_JOBS:
        return 1
    return min(cores, jobs // 2)


def share(jobs: Sequence[Job], cores: int, tell: Tell = lambda number: None) -> int:
    """Run the jobs, some in forked workers; the number of workers. Errors are left for whoever
    needs the results. `tell` hears how many have been begun.
    """
    count = workers_for(len(jobs), cores)
    if count == 1:
        return 0
    turns, write = os.pipe()
    for number in range(min(len(jobs), MOST_JOBS)):
        os.write(write, number.to_bytes(4, "little"))
    os.close(write)
    children = [_start(jobs, turns) for _ in range(1, count)]
    _work(jobs, turns, tell)
    os.close(turns)
    deadline = time.monotonic() + PATIENCE
    for child in children:
        _wait(child, deadline)
    return len(children)


def _work(jobs: Sequence[Job], turns: int, tell: Tell) -> None:
    """Run whichever job is next until none is left; a pipe hands each number to one reader."""
    while word := os.read(turns, 4):
        number = int.from_bytes(word, "little")
        tell(number)
        with contextlib.suppress(Exception):
            jobs[number]()


def _start(jobs: Sequence[Job], turns: int) -> int:
    with warnings.catch_warnings():
        # Python warns of threads that a library has started; the worker calls none that needs them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:
        _work(jobs, turns, lambda number: None)
    finally:
        os._exit(0)


def _wait(child: int, deadline: float) -> None:
    while True:
        try:
            done, _ = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            return
        if done:
            return
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.005)
