"""`python -m benchmarks.steps NAME`: where a compiled model's time goes, step by step.

NAME is a model of benchmarks/models or of timm. Every native step is timed by itself, through the
launch program and with its threads; the least of `--repeat` runs counts. With one thread it is the
time of the processor that counts, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.__main__ import THREAD_VARIABLES

FLOPS = re.compile(r"(\d+(?:\.\d+)?) MFLOP")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m benchmarks.steps", description=__doc__)
    made.add_argument("name", help="a model of benchmarks/models, or of timm")
    made.add_argument("--training", action="store_true", help="forward and backward")
    made.add_argument("--batch-size", type=int, default=1)
    made.add_argument("--size", type=int, default=224, help="pixels of timm's images, each way")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    made.add_argument("--repeat", type=int, default=20)
    made.add_argument("--most", type=int, default=40, help="rows to print")
    made.add_argument("--in-order", action="store_true", help="as the steps run, not by time")
    return made


def caller(options: argparse.Namespace) -> Callable[[], Any]:
    """A function that runs the compiled model once."""
    import numpy as np

    from benchmarks import case

    library = case.Library("flambeau", options.threads)
    if options.name in case.names():
        made = case.Case(library, options.name, options.training, options.batch_size)
        return made.compiled("inductor")
    torch = library.torch
    with library.context():
        import timm

        torch.manual_seed(0)
        model = timm.create_model(options.name, pretrained=False)
    model.train(options.training)
    shape = (options.batch_size, 3, options.size, options.size)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    compiled, images = torch.compile(model), torch.from_numpy(images)

    def infer() -> Any:
        with torch.no_grad():
            return compiled(images)

    def step() -> Any:
        model.zero_grad()
        output = compiled(images)
        (output * output).mean().backward()

    return step if options.training else infer


def observed(
    run: Callable[[], Any], repeat: int, clock: Callable[[], float]
) -> list[tuple[str, float]]:
    """The steps of all programs that `run` runs, in order, with the least of their seconds."""
    from inductor.compiled import Segment

    found: list[tuple[str, float]] = []

    def profiled(segment: Any, arrays: list[Any]) -> None:
        mine = segment.program.profile(tuple([arrays[n] for n in segment.arrays]), clock)
        found.extend(mine)

    plain, Segment.run = Segment.run, profiled  # type: ignore[method-assign]
    least: list[tuple[str, float]] = []
    try:
        for _ in range(repeat):
            found.clear()
            run()
            pairs = zip(least or found, found, strict=True)
            least = [(name, min(seconds, now)) for (name, seconds), (_, now) in pairs]
    finally:
        Segment.run = plain  # type: ignore[method-assign]
    return least


def whole(run: Callable[[], Any], repeat: int, clock: Callable[[], float]) -> float:
    """The least seconds of a call."""
    times = []
    for _ in range(repeat):
        begin = clock()
        run()
        times.append(clock() - begin)
    return min(times)


def report(rows: Sequence[tuple[str, float]], options: argparse.Namespace) -> str:
    """A table of steps, the dearest first; equal names are one row."""
    grouped: dict[str, list[float]] = {}
    for number, (name, seconds) in enumerate(rows):
        key = f"{number:4} {name}" if options.in_order else name
        grouped.setdefault(key, []).append(seconds)
    total = sum(seconds for _, seconds in rows)
    order = list(grouped) if options.in_order else sorted(grouped, key=lambda n: -sum(grouped[n]))
    lines = []
    for name in order[: options.most]:
        spent, count = sum(grouped[name]), len(grouped[name])
        match = FLOPS.search(name)
        rate = f"{float(match[1]) * count / spent / 1e3:7.1f} GF/s" if match else " " * 12
        lines.append(f"{spent * 1e3:9.3f} ms {100 * spent / total:5.1f}% {count:4}x {rate}  {name}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = parser().parse_args(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    run = caller(options)

    import flambeau

    with flambeau.alias("torch"):  # some sources import torch when they are called
        begin = time.perf_counter()
        run()
        first = time.perf_counter() - begin
    clock = time.process_time if options.threads == 1 else time.perf_counter
    rows = observed(run, options.repeat, clock)
    seconds = whole(run, options.repeat, clock)
    print(report(rows, options))
    total = sum(spent for _, spent in rows)
    print(f"\n{len(rows)} steps, {total * 1e3:.2f} ms; a whole call {seconds * 1e3:.2f} ms; "
          f"the first call {first:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
