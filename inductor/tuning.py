"""Ways of doing the same, chosen by timing them: `compile(mode="max-autotune")`.

Where rules would decide between kernels (a convolution directly, after Winograd, or as a product of
matrices), every way runs a few times on random numbers, with as many threads as programs have just
then, and the quickest is taken. What was found is kept in the process and in the cache on disk.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inductor import native, threads
from inductor.cache import key_of
from inductor.program import ALIGNMENT, Program, Step, aligned

log = logging.getLogger("flambeau.tuning")
LEAST_RUNS, MOST_RUNS, SECONDS = 3, 50, 0.05
"""Timed runs of a way, and after how many seconds of them it has had enough."""


@dataclass(frozen=True)
class Way:
    """Steps over arrays of float32 or float64, the inputs of a program: `sizes` are their elements."""

    name: str
    steps: Callable[[], list[Step]]
    sizes: tuple[int, ...]
    dtype: str = "float32"


_found: dict[str, str] = {}


def quickest(question: str, ways: Sequence[Way]) -> str:
    """The name of the quickest way; `question` says of what, in words that tell it from all others."""
    if len(ways) == 1:
        return ways[0].name
    names = [way.name for way in ways]
    whole = f"{question} {names} {threads.get_num_threads()}"
    if whole not in _found:
        _found[whole] = _remembered(whole, names) or _time(whole, ways)
    return _found[whole]


def _key(question: str) -> str:
    from inductor.templates.template import digest

    return key_of("tuning", question, digest(), *native.host())


def _remembered(question: str, names: Sequence[str]) -> str | None:
    from inductor.compile import open_cache

    cache = open_cache()
    entry = cache.get(_key(question)) if cache is not None else None
    return entry[1] if entry is not None and entry[1] in names else None


def _time(question: str, ways: Sequence[Way]) -> str:
    from inductor.codegen import build
    from inductor.compile import open_cache
    from inductor.templates.template import digest

    seconds = {way.name: measure(way) for way in ways}
    best = min(seconds, key=lambda name: seconds[name])
    told = ", ".join(f"{name} {1e3 * s:.3f} ms" for name, s in seconds.items())
    log.info("%s: %s", question, told)
    cache = open_cache()
    if cache is not None:
        note = {"kind": "tuning", **build.about(digest())}
        cache.put(_key(question), told.encode(), best, note)
    return best


def measure(way: Way) -> float:
    """Seconds of the quickest run; infinity where a kernel fails."""
    random = np.random.default_rng(0)
    arrays = []
    for size in way.sizes:
        itemsize = np.dtype(way.dtype).itemsize
        array = aligned(max(size * itemsize, ALIGNMENT)).view(way.dtype)
        array[...] = random.standard_normal(array.size)
        arrays.append(array)
    program = Program(way.steps(), len(arrays), 0)
    best, spent, runs = math.inf, 0.0, -1  # the first warms up
    while runs < LEAST_RUNS or (spent < SECONDS and runs < MOST_RUNS):
        begin = time.perf_counter()
        code, _ = program.call(tuple(arrays))
        lasted = time.perf_counter() - begin
        if code:
            return math.inf
        runs += 1
        if runs:
            best, spent = min(best, lasted), spent + lasted
    return best
