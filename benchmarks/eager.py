"""`python -m benchmarks.eager`: single calls against torch eager, one thread each, in one process.

Batches of calls of the two libraries take turns, after a warm-up. The columns are the medians of
processor time in microseconds, the ratio of them and the spread: half the distance of the quartiles over the median,
of the library where it is larger.
"""

from __future__ import annotations

import argparse
import csv
import gc
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.__main__ import THREAD_VARIABLES

SIZES = (100, 10_000, 1_000_000)
COLUMNS = ("name", "size", "mode", "flambeau_us", "torch_us", "ratio", "spread")
MODES = {
    "plain": "inputs that need no gradient",
    "recorded": "the graph recorded",
    "backward": "forward and backward",
}
BATCH, ROUNDS = 0.002, 15  # seconds of a batch of calls; batches of each library
HEADING = "## Eager calls"
REMARKS = """\
Where time is lost: NumPy's `exp` in single precision takes twice as long as torch's (softmax, sigmoid,
silu, losses), and what torch does in one pass takes NumPy several (gelu, layer_norm); small
tensors pay for every NumPy call (half a microsecond, a reduction two); random numbers are a
counter's, computed by NumPy (small draws in a row come from numbers drawn ahead). The gradient
of a view is copied where the caller holds the memory it came from: torch hands out that memory
itself, and adds to it later. The calls are those of `benchmarks/calls.py`, the first 60 names of a
census of 164 models, without attributes and assertions; with gradients, dropout and batch_norm are
in training.""".splitlines()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m benchmarks.eager", description=__doc__)
    made.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    made.add_argument("--only", nargs="+", metavar="NAME", help="these calls instead of the 60")
    made.add_argument("--all", action="store_true", help="the calls after the 60 too")
    made.add_argument("--gradients", action="store_true",
                      help="also with gradients recorded, and with the backward pass")
    made.add_argument("--rounds", type=int, default=ROUNDS, help="batches of each library")
    made.add_argument("--output", type=Path, metavar="FILE.csv", help="write the rows here")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables here")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    options = parser().parse_args(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    libraries = load()
    names = chosen(options)
    modes = list(MODES) if options.gradients else ["plain"]
    rows = []
    for mode in modes:
        for size in options.sizes:
            for name in differentiable(names) if mode != "plain" else names:
                row = measure(name, size, mode, libraries, options.rounds)
                rows.append(row)
                print("{name:>28} {size:>8} {mode:>9} {flambeau_us:>11.2f} {torch_us:>11.2f}"
                      " {ratio:>6.2f} {spread:>5.0%}".format(**row), flush=True)
    for mode, size in dict.fromkeys((row["mode"], row["size"]) for row in rows):
        found = select(rows, mode, size)
        print(f"{mode:>9} {size:>8}: geometric mean {geometric_mean(found):.3f} of {len(found)}")
    if options.output:
        write_csv(rows, options.output)
    if options.write:
        write_section(rows, options.write)
    return 0


def load() -> dict[str, Any]:
    """The two libraries, each with one thread."""
    import torch

    import flambeau

    torch.set_num_threads(1)
    return {"flambeau": flambeau, "torch": torch}


def chosen(options: argparse.Namespace) -> list[str]:
    """The names to measure. Raises SystemExit for one that there is not."""
    from benchmarks.calls import CALLS, COUNT

    unknown = [name for name in options.only or () if name not in CALLS]
    if unknown:
        raise SystemExit(f"there is no call {', '.join(unknown)}; there are {', '.join(CALLS)}")
    return options.only or list(CALLS)[: None if options.all else COUNT]


def differentiable(names: list[str]) -> list[str]:
    from benchmarks.calls import DIFFERENTIABLE

    return [name for name in names if name in DIFFERENTIABLE]


def prepare(name: str, size: int, mode: str, library: Any) -> Callable[[], Any]:
    """The call to time, of one library."""
    from benchmarks.calls import CALLS, Inputs

    make = Inputs(library, mode != "plain")
    library.manual_seed(0)
    forward = CALLS[name](library, make, size)
    if mode != "backward":
        return forward
    first = forward()
    outputs = first if isinstance(first, (tuple, list)) else (first,)
    seeds = [library.ones_like(output).detach() for output in outputs]
    leaves, backward = make.leaves, library.autograd.backward

    def step() -> None:
        found = forward()
        backward(found, seeds if isinstance(found, (tuple, list)) else seeds[0])
        for leaf in leaves:
            leaf.grad = None

    return step


def measure(name: str, size: int, mode: str, libraries: dict, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    steps = {label: prepare(name, size, mode, library) for label, library in libraries.items()}
    counts = {label: batch_size(step) for label, step in steps.items()}
    times: dict[str, list[float]] = {label: [] for label in steps}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for label, step in steps.items():
                times[label].append(batch(step, counts[label]) / counts[label])
    finally:
        gc.enable()
    medians = {label: statistics.median(found) for label, found in times.items()}
    return {
        "name": name, "size": size, "mode": mode,
        "flambeau_us": medians["flambeau"] * 1e6, "torch_us": medians["torch"] * 1e6,
        "ratio": medians["flambeau"] / medians["torch"],
        "spread": max(spread(found) for found in times.values()),
    }


def batch(step: Callable[[], Any], count: int) -> float:
    """Seconds of processor time of `count` calls: with one thread, what a free machine's clock says,
    whoever else is busy on this one."""
    start = time.thread_time()
    for _ in repeat(None, count):
        step()
    return time.thread_time() - start


def batch_size(step: Callable[[], Any]) -> int:
    """How many calls make up a batch; finding out is the warm-up."""
    step()
    count, seconds = 1, batch(step, 1)
    while seconds < BATCH:
        count = max(count + 1, min(10 * count, int(count * BATCH / max(seconds, 1e-9)) + 1))
        seconds = batch(step, count)
    return count


def spread(times: list[float]) -> float:
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / 2 / middle


def select(rows: list[dict], mode: str, size: int) -> list[dict]:
    return [row for row in rows if row["mode"] == mode and row["size"] == size]


def geometric_mean(rows: list[dict]) -> float:
    """Of the ratios."""
    return math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))


def write_csv(rows: list[dict], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(shown)


def write_section(rows: list[dict], path: Path) -> None:
    """Put the tables in their section of a document, in the place of those of the last run."""
    text = path.read_text() if path.exists() else "# Performance\n"
    before, found, after = text.partition(HEADING + "\n")
    following = after.find("\n## ")
    rest = after[following + 1 :] if found and following >= 0 else ""
    section = "\n".join([HEADING, "", *introduction(rows), "", *tables(rows)])
    path.write_text(before.rstrip("\n") + "\n\n" + section + ("\n\n" + rest if rest else "\n"))


def introduction(rows: list[dict]) -> list[str]:
    """What was measured, where and how, and the geometric means."""
    import numpy
    import torch

    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    lines = [
        "Written by `python -m benchmarks.eager --gradients --write docs/performance.md`:"
        f" NumPy {numpy.__version__}, torch {torch.__version__},"
        f" Python {sys.version.split()[0]}; {machine()}; one thread each;"
        f" load average {load_average:.1f}. Medians of batches that take turns, processor time in microseconds;"
        " the ratio is flambeau's time over torch's, the spread half the distance of the quartiles"
        " over the median.",
        "",
        "| geometric mean of the ratios | " + " | ".join(f"{s:,}" for s in sizes(rows)) + " |",
        "|---|" + "---|" * len(sizes(rows)),
    ]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        means = [geometric_mean(select(rows, mode, size)) for size in sizes(rows)]
        count = len({row["name"] for row in rows if row["mode"] == mode})
        lines.append(f"| {MODES[mode]} ({count} calls) | "
                     + " | ".join(f"{found:.2f}" for found in means) + " |")
    return [*lines, "", *REMARKS]


def machine() -> str:
    """The processor in words: how many, and the widest vectors they have."""
    found = Path("/proc/cpuinfo")
    flags = found.read_text() if found.exists() else ""
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "vectors unknown"
    return f"{os.cpu_count()} processors with {vectors}"


def sizes(rows: list[dict]) -> list[int]:
    return list(dict.fromkeys(row["size"] for row in rows))


def tables(rows: list[dict]) -> list[str]:
    """A table for each mode; for each size flambeau's time, torch's, the ratio and the spread."""
    lines: list[str] = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found = [row for row in rows if row["mode"] == mode]
        columns = sizes(found)
        lines += [f"### {MODES[mode].capitalize()}", "",
                  "| call | " + " | ".join(f"{s:,}: µs | torch µs | ratio | ±" for s in columns) + " |",
                  "|---|" + "---:|" * (4 * len(columns))]
        for name in dict.fromkeys(row["name"] for row in found):
            cells = [cell(row) for row in found if row["name"] == name]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines[:-1]


def cell(row: dict) -> str:
    return (f"{row['flambeau_us']:.4g} | {row['torch_us']:.4g} | {row['ratio']:.2f}"
            f" | {row['spread']:.0%}")


if __name__ == "__main__":
    sys.exit(main())
