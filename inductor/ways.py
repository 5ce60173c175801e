"""The ways of a convolution, as steps to be timed (`tuning`): directly, after Winograd, as a product;
and those of a product, by tiles.

Images have their channels last. Weights that are not kept are packed in every call, so packing them
is part of the way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inductor.program import Step, input
from inductor.tuning import Way

IMAGE, WEIGHT, PACKED, RESULT, FLAG = map(input, range(5))


def product(name: str, problem: Any) -> Way:
    """A product of matrices."""
    from inductor.templates import panels
    from inductor.templates.gemm import build

    def extent(rows: int, columns: int, strides: tuple[int, int], which: int) -> int:
        batches = sum((size - 1) * found[which] for size, *found in problem.batch)
        return batches + (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1

    m, n, k = problem.m, problem.n, problem.k
    second = panels.size(problem) if problem.packed else extent(k, n, problem.b, 1)
    sizes = (extent(m, k, problem.a, 0), second, extent(m, n, problem.c, 2))
    return Way(name, lambda: [build(problem).step(*map(input, range(3)))], sizes, problem.dtype)


def image(name: str, conv: Any, kept: bool, turn: bool) -> Way:
    """A convolution or, if `turn`, its gradient by the image."""
    from inductor.templates import direct, packing, panels, winograd
    from inductor.templates.frame import frame, gradient_frames
    from inductor.templates.gemm import build
    from inductor.templates.problem import Problem

    pixels, given = conv.batch * conv.pixels, conv.batch * conv.height * conv.width
    source, result = given * conv.channels, pixels * conv.filters
    if turn:
        source, result = result, source
    weights = conv.filters * conv.channels * conv.taps
    back = winograd.turned(conv) if turn else conv
    parts = gradient_frames(conv) if turn else [(frame(conv), ())]
    n, k = (conv.channels, conv.filters) if turn else (conv.filters, conv.channels)
    strides = (n, 1) if turn else (1, k)
    problem = Problem(pixels, n, k, (k, 1), strides, (n, 1), dtype=conv.dtype)
    packed = sum(work.packed for work, _ in parts)
    if name == "winograd":
        packed = winograd.Cut(back).packed
    if name == "product":
        packed = panels.size(problem)

    def make() -> list[Step]:
        if name == "product":
            made = build(replace(problem, packed=kept))
            return [made.step(IMAGE, PACKED if kept else WEIGHT, RESULT)]
        if name == "winograd":
            pack = [] if kept else [winograd.pack(back, turn).step(WEIGHT, PACKED)]
            return [
                *pack, winograd.clear().step(FLAG),
                winograd.kernel(back).step(IMAGE, PACKED, RESULT, FLAG),
            ]
        steps, place = [], 0
        for work, taps in parts:
            here = input(2, place * work.itemsize)
            found = packing.gradient_weights(conv, taps) if turn else packing.weights(conv)
            if not kept and not work.empty:
                steps.append(packing.pack(work, found).step(WEIGHT, here))
            steps.append(direct.kernel(work).step(IMAGE, here, RESULT, work.first))
            place += work.packed
        return steps

    return Way(name, make, (source, weights, packed + 64, result, 16), conv.dtype)


def sums(name: str, conv: Any) -> Way:
    """The gradient of a convolution by its weights."""
    from inductor.templates import components, outer, winograd
    from inductor.templates.gemm import build
    from inductor.templates.problem import Problem

    pixels, given = conv.batch * conv.pixels, conv.batch * conv.height * conv.width
    m, n = conv.filters, conv.channels

    def steps() -> list[Step]:
        if name == "product":
            problem = Problem(m, n, pixels, (1, m), (n, 1), (n, 1), dtype=conv.dtype)
            return [build(problem).step(WEIGHT, IMAGE, RESULT)]
        if name == "winograd":
            made = components.weight_gradient(conv).step(IMAGE, WEIGHT, RESULT, FLAG)
            return [winograd.clear().step(FLAG), made]
        return [outer.weight_gradient(conv).step(IMAGE, WEIGHT, RESULT, 0)]

    sizes = (given * n, pixels * m, 16, m * n * conv.taps, 16)
    return Way(name, steps, sizes, conv.dtype)
