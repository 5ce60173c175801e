"""Generated kernels against their peers: GF/s of matrix products and convolutions, in one interleaved run.

    python -m benchmarks.kernels [--threads 1,2] [--seconds 0.3] [--only gemm,weights,attention,gradient,forward,input,weight]
                                [--document docs/performance.md]

Each line is one shape. `ours` and `torch` (where it is installed) take turns, and the best time of each
counts, as GF/s. `peak` is what a loop of multiply-adds in registers reached between them, per thread.
With one thread the clock is the thread's own, which stands still while other programs run; with
several it is the wall's: on a busy machine trust ratios, not figures. `weights` are products with a
parameter of an inference: ours packed once, and every call with another copy, so that they come from
memory as in a model. `--document` writes what was measured as a section of that file.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inductor import native, threads
from inductor.program import Program, aligned, input, output
from inductor.templates import attention, backward, convolution, gemm, panels
from inductor.templates.attention import Attention
from inductor.templates.convolution import Convolution
from inductor.templates.problem import Problem

PRODUCTS = {  # m, n, k, trans_a, trans_b, batch
    "gpt2 qkv": (128, 2304, 768, False, False, 1),
    "gpt2 projection": (128, 768, 768, False, False, 1),
    "gpt2 up": (128, 3072, 768, False, False, 1),
    "gpt2 down": (128, 768, 3072, False, False, 1),
    "gpt2 logits": (128, 50257, 768, False, True, 1),
    "gpt2 up, input gradient": (128, 768, 3072, False, True, 1),
    "gpt2 up, weight gradient": (768, 3072, 128, True, False, 1),
    "attention scores": (128, 128, 64, False, True, 12),
    "attention values": (128, 64, 128, False, False, 12),
    "mlp": (8, 256, 256, False, True, 1),
    "square": (1024, 1024, 1024, False, False, 1),
}
WEIGHTS = {  # m, n, k
    "gpt2 qkv": (128, 2304, 768),
    "gpt2 projection": (128, 768, 768),
    "gpt2 up": (128, 3072, 768),
    "gpt2 down": (128, 768, 3072),
    "gpt2 logits": (128, 50257, 768),
    "minilm": (320, 384, 384),
    "vit": (197, 768, 192),
    "mlp": (8, 256, 256),
}
COLD = 64 << 20  # bytes of copies of a weight: more than the caches hold
ATTENTION = {  # batch, heads, rows, columns, depth, causal
    "gpt2": (1, 12, 128, 128, 64, True),
    "gpt2, long": (1, 12, 1024, 1024, 64, True),
    "minilm": (10, 12, 32, 32, 32, False),
    "vit": (1, 3, 197, 197, 64, False),
}
IMAGES = {  # batch, channels, height, filters, kernel, stride, groups
    "resnet18 stem": (1, 3, 224, 64, 7, 2, 1),
    "resnet18 layer 1": (1, 64, 56, 64, 3, 1, 1),
    "resnet18 layer 2, strided": (1, 64, 56, 128, 3, 2, 1),
    "resnet18 layer 2, shortcut": (1, 64, 56, 128, 1, 2, 1),
    "resnet18 layer 2": (1, 128, 28, 128, 3, 1, 1),
    "resnet18 layer 3": (1, 256, 14, 256, 3, 1, 1),
    "resnet18 layer 4": (1, 512, 7, 512, 3, 1, 1),
    "resnet50 expansion": (1, 64, 56, 256, 1, 1, 1),
    "depthwise": (1, 144, 56, 144, 3, 1, 144),
    "batch of 8": (8, 128, 28, 128, 3, 1, 1),
}


def interleaved(
    functions: dict[str, Callable[[], Any]], seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
    """The best time of each function, taking turns."""
    for function in functions.values():
        function()
    best = dict.fromkeys(functions, float("inf"))
    end = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < end:
        for name, function in functions.items():
            begin = clock()
            function()
            best[name] = min(best[name], clock() - begin)
    return best


def peak() -> tuple[Callable[[], Any], float]:
    """Multiply-adds in registers, and their number of operations."""
    from llvmlite import ir

    from inductor.templates.emit import Emitter

    module = ir.Module("peak")
    e = Emitter(module, "peak")
    # Accumulators that start alike would be merged into one.
    starts = [e.load_vector(e.pointer(0), i * e.lanes) for i in range(12)]
    with e.loop(e.arguments[1], e.arguments[2], 1, starts) as loop:
        loop.next = [e.fma(starts[0], starts[1], total) for total in loop.values]
    for i, total in enumerate(loop.values):
        e.store_vector(total, e.pointer(0), i * e.lanes)
    e.finish()
    function = native.compile_ir(module, "peak", vectorize=False)
    # Not zeros: multiplying those takes less power, and the clock runs faster than it ever will.
    memory = np.random.default_rng(0).uniform(0.5, 1, 12 * 16).astype(np.float32)
    block = np.array([memory.ctypes.data])
    rounds = 100_000
    lanes = native.vector_bits() // 32
    operations = 2.0 * 12 * lanes * rounds
    return lambda: (memory, function(block.ctypes.data, 0, rounds)), operations


def _ours(program: Program, arrays: tuple[np.ndarray, ...], count: int) -> Callable[[], Any]:
    def run() -> None:
        threads.set_num_threads(count)
        program.call(arrays)

    return run


def _torch(function: Callable[[], Any], count: int) -> Callable[[], Any]:
    import torch

    def run() -> None:
        torch.set_num_threads(count)
        with torch.no_grad():
            function()

    return run


def has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def products(counts: list[int]) -> Iterator[tuple[str, float, dict[str, Callable[[], Any]]]]:
    """Every matrix product: its name, its operations, and who is to compute it."""
    random = np.random.default_rng(0)
    for name, (m, n, k, trans_a, trans_b, batch) in PRODUCTS.items():
        a = random.standard_normal((batch, k, m) if trans_a else (batch, m, k), dtype=np.float32)
        b = random.standard_normal((batch, n, k) if trans_b else (batch, k, n), dtype=np.float32)
        c = np.empty((batch, m, n), np.float32)
        step = gemm.step(m, n, k, trans_a, trans_b, batch).step(input(0), input(1), output(0))
        program = Program([step], 2, 1)
        left = a.swapaxes(1, 2) if trans_a else a
        right = b.swapaxes(1, 2) if trans_b else b
        functions: dict[str, Callable[[], Any]] = {}
        for count in counts:
            functions[f"ours {count}"] = _ours(program, (a, b, c), count)
            if has_torch():
                import torch

                x, y, z = torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(c)
                functions[f"torch {count}"] = _torch(
                    lambda x=x, y=y, z=z: torch.bmm(x, y, out=z), count
                )
        yield name, 2.0 * m * n * k * batch, functions


def weights(counts: list[int]) -> Iterator[tuple[str, float, dict[str, Callable[[], Any]]]]:
    """Products with weights that come from memory, packed before."""
    random = np.random.default_rng(0)
    for name, (m, n, k) in WEIGHTS.items():
        copies = max(2, min(64, COLD // (4 * n * k)))
        a = random.standard_normal((m, k), dtype=np.float32)
        plain = [random.standard_normal((n, k), dtype=np.float32) for _ in range(copies)]
        c = np.empty((m, n), np.float32)
        problem = Problem(m, n, k, (k, 1), (1, k), (n, 1), packed=True)
        packed = [aligned(4 * panels.size(problem)) for _ in range(copies)]
        pack = Program([panels.pack(problem).step(input(0), output(0))], 1, 1)
        for pair in zip(plain, packed, strict=True):
            pack.call(pair)
        program = Program([gemm.build(problem).step(input(0), input(1), output(0))], 2, 1)
        functions: dict[str, Callable[[], Any]] = {}
        for count in counts:
            ours = itertools.cycle([_ours(program, (a, b, c), count) for b in packed])
            functions[f"ours {count}"] = lambda ours=ours: next(ours)()
            if has_torch():
                import torch

                x, z = torch.from_numpy(a), torch.from_numpy(c)
                calls = [
                    _torch(lambda x=x, y=torch.from_numpy(b).t(), z=z: torch.mm(x, y, out=z), count)
                    for b in plain
                ]
                theirs = itertools.cycle(calls)
                functions[f"torch {count}"] = lambda theirs=theirs: next(theirs)()
        yield name, 2.0 * m * n * k, functions


def attentions(counts: list[int]) -> Iterator[tuple[str, float, dict[str, Callable[[], Any]]]]:
    """Attention in one pass; its operations are those of both products, half of them where causal."""
    random = np.random.default_rng(0)
    for name, (batch, heads, rows, columns, depth, causal) in ATTENTION.items():
        shapes = [(batch, heads, n, depth) for n in (rows, columns, columns, rows)]
        q, k, v, out = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
        steps = [(heads * n * depth, n * depth, depth) for n in (rows, columns, columns, rows)]
        problem = Attention(
            batch, heads, rows, columns, depth, depth, *steps, depth**-0.5, causal
        )
        step = attention.forward(problem).step(input(0), input(1), input(2), output(0))
        program = Program([step], 3, 1)
        functions: dict[str, Callable[[], Any]] = {}
        for count in counts:
            functions[f"ours {count}"] = _ours(program, (q, k, v, out), count)
            if has_torch():
                import torch

                x, y, z = (torch.from_numpy(t) for t in (q, k, v))
                functions[f"torch {count}"] = _torch(
                    lambda x=x, y=y, z=z, causal=causal: (
                        torch.nn.functional.scaled_dot_product_attention(x, y, z, is_causal=causal)
                    ),
                    count,
                )
        yield name, 4.0 * batch * heads * rows * columns * depth / (1 + causal), functions


def images(
    kind: str, counts: list[int]
) -> Iterator[tuple[str, float, dict[str, Callable[[], Any]]]]:
    """Every convolution: forward, or the gradient of its input or weight."""
    random = np.random.default_rng(0)
    for name, (batch, channels, size, filters, kernel, stride, groups) in IMAGES.items():
        pair = (kernel // 2, kernel // 2)
        conv = Convolution(
            batch, channels, size, size, filters, (kernel, kernel), (stride, stride), pair,
            groups=groups,
        )
        shapes = {
            "image": (batch, channels, size, size),
            "weight": (filters, channels // groups, kernel, kernel),
            "gradient": (batch, filters, conv.out_height, conv.out_width),
        }
        data = {n: random.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}
        make, first, second, result = {
            "forward": (convolution.forward, "image", "weight", "gradient"),
            "input": (convolution.input_gradient, "gradient", "weight", "image"),
            "weight": (convolution.weight_gradient, "image", "gradient", "weight"),
        }[kind]
        plan = make(conv)
        program = Program(plan.steps(input(0), input(1), output(0), 0), 2, 1, plan.workspace)
        arrays = (data[first], data[second], np.empty_like(data[result]))
        functions: dict[str, Callable[[], Any]] = {}
        for count in counts:
            functions[f"ours {count}"] = _ours(program, arrays, count)
            if has_torch():
                functions[f"torch {count}"] = _torch(_peer(kind, conv, data), count)
        yield name, float(conv.flops), functions


def _peer(kind: str, conv: Convolution, data: dict[str, np.ndarray]) -> Callable[[], Any]:
    import torch

    x, w, g = (torch.from_numpy(data[n]) for n in ("image", "weight", "gradient"))
    how = (list(conv.stride), list(conv.padding), list(conv.dilation))
    if kind == "forward":
        return lambda: torch.nn.functional.conv2d(x, w, None, *how, conv.groups)
    mask = [kind == "input", kind == "weight", False]
    return lambda: torch.ops.aten.convolution_backward(
        g, x, w, None, *how, False, [0, 0], conv.groups, mask
    )


def gradients(counts: list[int]) -> Iterator[tuple[str, float, dict[str, Callable[[], Any]]]]:
    """The gradients of attention; operations of five products, half of them where causal."""
    random = np.random.default_rng(0)
    for name, (batch, heads, rows, columns, depth, causal) in ATTENTION.items():
        lengths = (rows, columns, columns, rows, rows)
        shapes = [(batch, heads, n, depth) for n in lengths]
        q, k, v, out, g = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
        steps = [(heads * n * depth, n * depth, depth) for n in lengths]
        scale = depth**-0.5
        of = Attention(
            batch, heads, rows, columns, depth, depth, *steps[:4], scale, causal, sums=True
        )
        sums = np.empty((batch, heads, rows, 2), np.float32)
        found = [np.empty_like(x) for x in (q, k, v)]
        first = attention.forward(of).step(input(0), input(1), input(2), output(0), output(1))
        Program([first], 3, 2).call((q, k, v, out, sums))
        problem = backward.Gradient(of, steps[4], steps[0], steps[1], steps[2])
        words = [*(input(n) for n in range(6)), *(output(n) for n in range(3))]
        program = Program([backward.backward(problem).step(*words)], 6, 3)
        functions: dict[str, Callable[[], Any]] = {}
        for count in counts:
            functions[f"ours {count}"] = _ours(program, (q, k, v, out, g, sums, *found), count)
            if has_torch():
                functions[f"torch {count}"] = _torch_gradient((q, k, v, g), causal, count)
        yield name, 10.0 * batch * heads * rows * columns * depth / (1 + causal), functions


def _torch_gradient(
    arrays: tuple[np.ndarray, ...], causal: bool, count: int
) -> Callable[[], Any]:
    """torch's kernel of the gradients, on what its kernel of the result saved."""
    import torch

    q, k, v, g = (torch.from_numpy(x) for x in arrays)
    saved = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return _torch(lambda: kernel(g, q, k, v, *saved, 0.0, causal), count)


TABLES = {"gemm": products, "weights": weights, "attention": attentions, "gradient": gradients}
"""What is measured besides convolutions."""

NOTES = """\
GF/s, one thread unless the column says otherwise; *peak* is what multiply-adds in registers reached
between the calls, on one thread: the processor is shared, and only figures of one line compare.

* **gemm**: nothing is known before the call, and both factors are packed in it. This is training.
* **weights**: B is a parameter of a program that records no gradient. It is packed once, and again when
  its storage's version, its array or its loans to NumPy say that it may have changed. The packed copy
  stays with the parameter: as much memory again as the weights that products read (GPT-2 of 124 M
  parameters: 0.5 GB); `report.kept` of a compiled graph and `inductor.weights.kept_bytes()` count it.
  Every call reads another copy, so that weights come from memory, as in a model.
* **attention**: `scaled_dot_product_attention` in one pass; operations of a causal one count half.
* **gradient**: its gradients by queries, keys and values in one kernel, which makes the weights again
  from the sums that the forward kernel saves; operations of five products."""


def document(path: Path, rows: list[str], options: argparse.Namespace) -> None:
    """Put the lines into the section of products and attention."""
    from benchmarks.document import machine, replace

    command = f"python -m benchmarks.kernels --threads {options.threads} --only {options.only}"
    lines = [f"`{command} --document {path}` on {machine()}:", "", "```", *rows, "```", "", NOTES]
    replace(path, "Matrix products and attention", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="GF/s of the generated kernels and their peers")
    parser.add_argument("--threads", default="1", help="comma-separated numbers of threads")
    parser.add_argument("--seconds", type=float, default=0.3, help="per contestant and shape")
    parser.add_argument("--only", default="gemm,weights,attention,gradient,forward,input,weight")
    parser.add_argument("--document", type=Path, help="write the lines into this file, too")
    options = parser.parse_args()
    counts = [int(count) for count in options.threads.split(",")]
    clock = time.thread_time if counts == [1] else time.perf_counter
    spin, spun = peak()
    rows: list[str] = []
    for kind in options.only.split(","):
        made = TABLES.get(kind)
        cases = made(counts) if made is not None else images(kind, counts)
        for name, flops, functions in cases:
            best = interleaved({**functions, "peak": spin}, options.seconds, clock)
            top = spun / best.pop("peak") / 1e9
            rates = {who: flops / seconds / 1e9 for who, seconds in best.items()}
            text = "  ".join(f"{who} {rate:5.0f}" for who, rate in rates.items())
            pairs = [(rates[f"ours {c}"], rates.get(f"torch {c}")) for c in counts]
            ratios = "  ".join(f"x{ours / peer:.2f}" for ours, peer in pairs if peer)
            rows.append(f"{kind:10}{name:28}{text}  peak {top:5.0f}  {ratios}".rstrip())
            print(rows[-1], flush=True)
    if options.document:
        document(options.document, rows, options)


if __name__ == "__main__":
    main()
