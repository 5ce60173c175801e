"""`python -m benchmarks.roofline`: how near each family of kernels comes to what the machine can do.

A case is a function, compiled, with the bytes that it must move or the operations that it must do. Counted is the time inside the native
program, the least of many runs; in turn with it runs what the machine can do: a copy of as much memory (`np.copyto`), and multiply-adds
in registers. The share is of that. Bytes are those of inputs read once and results written once, operations those of the direct
way: what is read twice, or computed by a faster algorithm, counts once.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import THREAD_VARIABLES, pin

ROWS, COLUMNS = 4096, 2048
SIZE = ROWS * COLUMNS * 4  # bytes of the large matrix
PART = {"forward": 0, "backward": -1}


@dataclass(frozen=True)
class Case:
    """`make(torch)` gives a function to compile and its tensors; the program that counts is the first or the last."""

    family: str
    name: str
    make: Callable[[Any], tuple[Callable, tuple]]
    bytes: float = 0.0
    operations: float = 0.0
    part: str = "forward"


def matrix(torch: Any, grad: bool = False, rows: int = ROWS, columns: int = COLUMNS) -> Any:
    return torch.randn(rows, columns, requires_grad=grad)


def unary(function: Callable[[Any, Any], Any], grad: bool = False) -> Callable[[Any], tuple[Callable, tuple]]:
    """A function of torch and the large matrix."""
    return lambda torch: (lambda x: function(torch, x), (matrix(torch, grad),))


def normalized(name: str, grad: bool) -> Callable[[Any], tuple[Callable, tuple]]:
    def make(torch: Any) -> tuple[Callable, tuple]:
        weight, bias = (torch.randn(COLUMNS, requires_grad=grad) for _ in range(2))
        functional = torch.nn.functional
        if name == "layer_norm":
            return lambda x, w, b: functional.layer_norm(x, (COLUMNS,), w, b), (matrix(torch, grad), weight, bias)
        images = torch.randn(16, 64, 90, 91, requires_grad=grad)
        weight, bias = (torch.randn(64, requires_grad=grad) for _ in range(2))
        return lambda x, w, b: functional.batch_norm(x, None, None, w, b, True), (images, weight, bias)

    return make


def entropy(grad: bool) -> Callable[[Any], tuple[Callable, tuple]]:
    def make(torch: Any) -> tuple[Callable, tuple]:
        target = torch.randint(0, COLUMNS, (ROWS,))
        return lambda x, t: torch.nn.functional.cross_entropy(x, t), (matrix(torch, grad), target)

    return make


def embedding(grad: bool) -> Callable[[Any], tuple[Callable, tuple]]:
    def make(torch: Any) -> tuple[Callable, tuple]:
        index = torch.randint(0, 20_000, (8192,))
        return lambda w, i: torch.nn.functional.embedding(i, w), (matrix(torch, grad, 20_000, 512), index)

    return make


def pooled(name: str, grad: bool) -> Callable[[Any], tuple[Callable, tuple]]:
    def make(torch: Any) -> tuple[Callable, tuple]:
        images = torch.randn(8, 64, 112, 112, requires_grad=grad)
        return lambda x: getattr(torch.nn.functional, name)(x, 2), (images,)

    return make


def product(m: int, n: int, k: int, batch: int = 0) -> Callable[[Any], tuple[Callable, tuple]]:
    lead = (batch,) if batch else ()
    return lambda torch: (lambda a, b: a @ b, (torch.randn(*lead, m, k), torch.randn(*lead, k, n)))


def linear(m: int, n: int, k: int) -> Callable[[Any], tuple[Callable, tuple]]:
    """A product with a weight that is kept packed."""
    return lambda torch: (torch.nn.Linear(k, n), (torch.randn(m, k),))


def convolved(channels: int, size: int, filters: int, kernel: int, groups: int = 1, grad: bool = False) -> Callable[[Any], tuple[Callable, tuple]]:
    """Four convolutions in a row, for those of which the layout is chosen; of `channels` all."""

    def make(torch: Any) -> tuple[Callable, tuple]:
        layers = [torch.nn.Conv2d(channels, filters, kernel, padding=kernel // 2, groups=groups, bias=False) for _ in range(4)]
        return torch.nn.Sequential(*layers), (torch.randn(4 if grad else 1, channels, size, size),)

    return make


def work(channels: int, size: int, kernel: int, groups: int = 1, batch: int = 1) -> float:
    """Operations of those four convolutions."""
    return 4 * 2.0 * batch * channels * channels // groups * kernel * kernel * size * size


def attention(grad: bool) -> Callable[[Any], tuple[Callable, tuple]]:
    def make(torch: Any) -> tuple[Callable, tuple]:
        tensors = tuple(torch.randn(1, 12, 512, 64, requires_grad=grad) for _ in range(3))
        return lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v), tensors

    return make


ADAM = 4 << 20  # parameters of the optimizer's step


def adam(torch: Any) -> tuple[Callable, tuple]:
    """A step of Adam on four parameters, in place."""

    def step(*tensors: Any) -> Any:
        for param, grad, mean, square in zip(*(tensors[k::4] for k in range(4)), strict=True):
            mean.lerp_(grad, 0.1)
            square.mul_(0.999).addcmul_(grad, grad, value=0.001)
            param.addcdiv_(mean, (square / 0.001).sqrt_().add_(1e-8), value=-0.01)
        return tensors[0].sum()

    return step, tuple(torch.rand(ADAM // 4) for _ in range(16))


ATTENTION = 4.0 * 12 * 512 * 512 * 64
IMAGES = 8 * 64 * 112 * 112 * 4
CASES = (
    Case("pointwise", "relu(x) * 2 + 1", unary(lambda t, x: t.relu(x) * 2 + 1), 2 * SIZE),
    Case("pointwise", "gelu", unary(lambda t, x: t.nn.functional.gelu(x)), 2 * SIZE),
    Case("reduction", "sum of rows", unary(lambda t, x: x.sum(1)), SIZE),
    Case("reduction", "sum of columns", unary(lambda t, x: x.sum(0)), SIZE),
    Case("reduction", "maximum", unary(lambda t, x: x.amax()), SIZE),
    Case("softmax", "forward", unary(lambda t, x: t.softmax(x, -1)), 2 * SIZE),
    Case("softmax", "backward", unary(lambda t, x: t.softmax(x, -1), True), 3 * SIZE, part="backward"),
    Case("layer_norm", "forward", normalized("layer_norm", False), 2 * SIZE),
    Case("layer_norm", "backward", normalized("layer_norm", True), 3 * SIZE, part="backward"),
    Case("batch_norm", "forward", normalized("batch_norm", False), 2 * 16 * 64 * 8190 * 4),
    Case("batch_norm", "backward", normalized("batch_norm", True), 3 * 16 * 64 * 8190 * 4, part="backward"),
    Case("cross_entropy", "forward", entropy(False), SIZE),
    Case("cross_entropy", "backward", entropy(True), 2 * SIZE, part="backward"),
    Case("copies", "transpose", unary(lambda t, x: x.t().contiguous()), 2 * SIZE),
    Case("copies", "heads, (0, 2, 1, 3)", unary(lambda t, x: x.view(16, 256, 32, 64).transpose(1, 2).contiguous()), 2 * SIZE),
    Case("copies", "concatenation", unary(lambda t, x: t.cat([x, x], 1)), 3 * SIZE),
    Case("embedding", "forward", embedding(False), 2 * 8192 * 512 * 4),
    Case("embedding", "gradient", embedding(True), (20_000 + 3 * 8192) * 512 * 4, part="backward"),
    Case("pooling", "max_pool2d", pooled("max_pool2d", False), 1.25 * IMAGES),
    Case("pooling", "max_pool2d, gradient", pooled("max_pool2d", True), 2.25 * IMAGES, part="backward"),
    Case("pooling", "avg_pool2d", pooled("avg_pool2d", False), 1.25 * IMAGES),
    Case("optimizer", "Adam, four parameters", adam, 7 * ADAM * 4),
    Case("gemm", "1024 x 1024 x 1024", product(1024, 1024, 1024), operations=2.0 * 1024**3),
    Case("gemm", "128 x 3072 x 768, packed", linear(128, 3072, 768), operations=2.0 * 128 * 3072 * 768),
    Case("gemm", "48 of 64 x 64 x 64", product(64, 64, 64, 48), operations=2.0 * 48 * 64**3),
    Case("gemm", "8 x 256 x 256", product(8, 256, 256), operations=2.0 * 8 * 256 * 256),
    Case("convolution", "3x3, 64 channels, 56x56", convolved(64, 56, 64, 3), operations=work(64, 56, 3)),
    Case("convolution", "3x3, 512 channels, 7x7", convolved(512, 7, 512, 3), operations=work(512, 7, 3)),
    Case("convolution", "1x1, 256 channels, 28x28", convolved(256, 28, 256, 1), operations=work(256, 28, 1)),
    Case("convolution", "depthwise 3x3, 144 channels", convolved(144, 56, 144, 3, 144), operations=work(144, 56, 3, 144)),
    Case(
        "convolution", "gradients, 3x3, 64 channels", convolved(64, 28, 64, 3, grad=True),
        operations=7 / 4 * work(64, 28, 3, 1, 4), part="backward",
    ),
    Case("attention", "forward, 12 x 512 x 64", attention(False), operations=ATTENTION),
    Case("attention", "backward, 12 x 512 x 64", attention(True), operations=2.5 * ATTENTION, part="backward"),
)


def programs(run: Callable[[], Any], clock: Callable[[], float]) -> list[float]:
    """The seconds of each native program that `run` runs, in order."""
    from inductor.compiled import Segment

    found: list[float] = []
    plain = Segment.run

    def timed(segment: Any, arrays: list[Any]) -> None:
        begin = clock()
        plain(segment, arrays)
        found.append(clock() - begin)

    Segment.run = timed  # type: ignore[method-assign]
    try:
        run()
    finally:
        Segment.run = plain  # type: ignore[method-assign]
    return found


def caller(case: Case, torch: Any) -> Callable[[], Any]:
    """A call of the compiled case, with its backward half where that counts."""
    torch.compiler.reset()
    torch.manual_seed(0)
    function, tensors = case.make(torch)
    compiled = torch.compile(function, fullgraph=True)
    if case.part == "forward":

        def infer() -> Any:
            with torch.no_grad():
                return compiled(*tensors)

        return infer
    with torch.no_grad():
        slope = torch.randn(function(*tensors).shape)
    leaves = [t for t in tensors if t.requires_grad]
    leaves += list(function.parameters()) if hasattr(function, "parameters") else []

    def train() -> None:
        for leaf in leaves:
            leaf.grad = None
        compiled(*tensors).backward(slope)

    return train


def measure(case: Case, torch: Any, seconds: float, clock: Callable[[], float]) -> dict[str, Any]:
    """A row: the rate of the case and of what limits it, in turn."""
    import numpy as np

    from benchmarks.kernels import peak

    run = caller(case, torch)
    run()
    if case.bytes:
        count = int(case.bytes) // 8
        source, target = np.ones(count, np.float32), np.zeros(count, np.float32)
        limit, amount = (lambda: np.copyto(target, source)), 8.0 * count
    else:
        limit, amount = peak()
    best = least = math.inf
    end = time.perf_counter() + seconds
    turns = 0
    while turns < 5 or time.perf_counter() < end:
        least = min(least, programs(run, clock)[PART[case.part]])
        begin = clock()
        limit()
        best = min(best, clock() - begin)
        turns += 1
    top, rate = amount / best, (case.bytes or case.operations) / least
    unit = "GB/s" if case.bytes else "GF/s"
    return {
        "family": case.family, "case": case.name, "ms": least * 1e3, "rate": rate / 1e9, "limit": top / 1e9, "unit": unit,
        "share": rate / top,
    }


def lines_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as a table in Markdown."""
    lines = ["| family | case | ms | reached | limit | share |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        if "status" in row:
            lines.append(f"| {row['family']} | {row['case']} | {row['status']} | | | |")
            continue
        unit = row["unit"]
        lines.append(
            f"| {row['family']} | {row['case']} | {row['ms']:.3f} | {row['rate']:.1f} {unit} | {row['limit']:.1f} {unit} | {row['share']:.0%} |"
        )
    return lines


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The shares as bars, as PNG or SVG by the file's ending. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if "share" in row][::-1]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "roofline"}):
        figure, axes = pyplot.subplots(figsize=(7.0, 0.2 * len(rows) + 1.2), layout="constrained")
        colors = ["#1b9e77" if row["unit"] == "GB/s" else "#d95f02" for row in rows]
        bars = axes.barh([f"{row['family']}: {row['case']}" for row in rows], [100 * row["share"] for row in rows], color=colors)
        axes.bar_label(bars, [f"{row['share']:.0%}" for row in rows], fontsize=6, padding=2)
        axes.axvline(100, color="black", linewidth=0.8, linestyle="--")
        axes.tick_params(labelsize=7)
        axes.set_xlabel("% of what the machine can do: copying memory (green), multiply-adds (orange)", fontsize=8)
        axes.margins(y=0.01)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def write(path: Path, rows: Sequence[dict[str, Any]], command: str, threads: int) -> None:
    """The table and the plot beside the document as its section "Roofline"."""
    from benchmarks.document import machine, replace

    plot = path.parent / "roofline.svg"
    draw(rows, plot)
    paragraph = (
        f"Written by `python -m benchmarks.roofline {command}` on {machine()}, {threads} thread{'s' if threads > 1 else ''}; load of the machine "
        f"{os.getloadavg()[0]:.1f}. The time is that of the native program alone, the least of many. *Limit* is what the machine did in "
        "turn with it: a copy of as many bytes (`np.copyto`, reads and writes counted), or multiply-adds in registers. Bytes count inputs read once "
        "and results written once; operations are those of the direct way, so that Winograd may pass the limit."
    )
    replace(path, "Roofline", [paragraph, "", f"![share of the machine's limits]({plot.name})", "", *lines_of(rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the section "Roofline" if asked to."""
    parser = argparse.ArgumentParser("python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--only", metavar="FAMILY", action="append", help="these families")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring per case")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put table and plot into this file's section, and roofline.svg beside it")
    options = parser.parse_args(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    pin(options.threads)
    import flambeau as torch

    torch.set_num_threads(options.threads)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    families = dict.fromkeys(case.family for case in CASES)
    unknown = set(options.only or ()) - set(families)
    if unknown:
        raise SystemExit(f"there is no family {', '.join(sorted(unknown))}; there are {', '.join(families)}")
    rows = []
    for case in CASES:
        if options.only and case.family not in options.only:
            continue
        try:
            rows.append(measure(case, torch, options.seconds, clock))
        except Exception as error:
            rows.append({"family": case.family, "case": case.name, "status": f"{type(error).__name__}: {str(error)[:60]}"})
        print(lines_of(rows)[-1], flush=True)
    if options.write:
        write(options.write, rows, " ".join(arguments or sys.argv[1:]), options.threads)
    return int(any("status" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
