"""Timing and memory: all variants of a model called in turn, so that the machine's moods fall on all of them alike."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Times:
    """Seconds of each call of one variant, and of the first."""

    first: float = 0.0
    calls: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.calls)

    @property
    def compilation(self) -> float:
        """What the first call took beyond a usual one."""
        return max(self.first - self.median, 0.0)

    def percentile(self, percent: int) -> float:
        ordered = sorted(self.calls)
        return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def first_call(call: Callable[[], Any]) -> float:
    """Seconds of the first call: compilation included."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


BURST_SECONDS, BURST_MOST = 0.004, 50


PAUSE = 0.25
"""Seconds between turns: the threads of some libraries go on looking for work, on a processor that the next variant needs, for 0.2 s."""


def interleave(
    variants: dict[str, Callable[[], Any]],
    times: dict[str, Times],
    repeat: int,
    budget: float,
    progress: Callable[[int, int], None],
) -> None:
    """Give every variant `repeat` turns, round after round; stop early, after three rounds at least, when the budget in seconds is spent.

    A turn of a long call is one call. Of a short one it is several, of which the median counts. Before them comes a pause and one call
    that does not count: threads, processors and caches are then this variant's own.
    """
    bursts = {name: _burst(call) for name, call in variants.items()}
    started = time.perf_counter()
    for done in range(repeat):
        for name, call in variants.items():
            time.sleep(PAUSE)
            call()
            turn = [first_call(call) for _ in range(bursts[name])]
            times[name].calls.append(statistics.median(turn))
        progress(done + 1, repeat)
        if done >= 2 and time.perf_counter() - started > budget:
            return


def _burst(call: Callable[[], Any]) -> int:
    """Calls of one turn."""
    call()
    return max(1, min(BURST_MOST, int(BURST_SECONDS / max(first_call(call), 1e-7))))


def peak_memory(call: Callable[[], Any]) -> float:
    """Gigabytes that Python and NumPy hold at the peak of one call, beyond what they held before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return (tracemalloc.get_traced_memory()[1] - before) / 1e9
    finally:
        tracemalloc.stop()
