"""Externs that move elements: rolls, parts written into a tensor, adaptive pooling, running sums."""

from __future__ import annotations

import math
from typing import Any

from fx.node import Node
from inductor.index import ZERO, Variable, contiguous_strides
from inductor.indexing import _meta, inside, masked
from inductor.loops import HALF, Buffer, Loop, TypedAlgebra, Value, is_float
from inductor.lower import Lowering, Unsupported, lowers, view
from inductor.values import Computed, Coordinates, Lazy, Stored
from inductor.window import LARGEST_WINDOW


@lowers("roll")
def lower_roll(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source, shifts, dims = lowering.tensor(bound[0]), bound[1], bound[2]
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    if source.numel == 0 or source.ndim == 0:
        return source
    flat = dims is None or dims == ()
    values = source
    if flat:
        values, dims = view(source, (source.numel,), (1,), 0), (0,)
    dims = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    moves = [0] * values.ndim
    for shift, dim in zip(shifts, dims, strict=True):
        moves[int(dim) % values.ndim] += int(shift)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        return values.at(s, tuple(
            (i + (-move) % n) % n if move % n else i
            for i, move, n in zip(c, moves, values.shape, strict=True)
        ))

    rolled = Computed(values.shape, values.dtype, body, "roll")
    if not flat:
        return rolled
    return view(rolled, source.shape, contiguous_strides(source.shape), 0)


@lowers("select_scatter")
def lower_select_scatter(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    base, part = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    shape, dtype = _meta(node)
    dim = int(bound[2]) % len(shape)
    index = int(bound[3]) % shape[dim]

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        value = s.cast_to(part.at(s, (*c[:dim], *c[dim + 1 :])), dtype)
        return s.where(s.eq(s.index(c[dim]), index), value, base.at(s, c))

    return Computed(shape, dtype, body, "select_scatter")


@lowers("slice_scatter")
def lower_slice_scatter(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    base, part = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    shape, dtype = _meta(node)
    dim = int(bound[2]) % len(shape)
    bounds = [None if b is None else int(b) for b in bound[3:6]]
    start, _, step = slice(*bounds).indices(shape[dim])
    length = part.shape[dim]
    if part.numel == 0:
        return base

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        condition, place = inside(s, c[dim], start, start + (length - 1) * step + 1, step)
        value = s.cast_to(part.at(s, (*c[:dim], place, *c[dim + 1 :])), dtype)
        return value if condition is None else s.where(condition, value, base.at(s, c))

    return Computed(shape, dtype, body, "slice_scatter")


@lowers("diagonal_backward")
def lower_diagonal_backward(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient, offset = lowering.tensor(bound[0]), int(bound[2])
    shape, dtype = _meta(node)
    first, second = int(bound[3]) % len(shape), int(bound[4]) % len(shape)
    if gradient.numel == 0:
        raise Unsupported("an empty diagonal")

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        on = s.eq(s.index(c[second] - c[first]), offset)
        along = s.index(c[first] if offset >= 0 else c[second])
        place = s.clamped(along, on, gradient.shape[-1])
        rest = tuple(i for d, i in enumerate(c) if d not in (first, second))
        return masked(s, [on], gradient.at(s, (*rest, place)), 0, dtype)

    return Computed(shape, dtype, body, "diagonal_backward")


@lowers("eye")
def lower_eye(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    return Computed(
        shape, dtype, lambda s, c: s.cast_to(s.eq(s.index(c[0]), s.index(c[1])), dtype), "eye"
    )


def _grid(source: Lazy, size: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Leading dimensions, the spatial size, and the number of windows along each dimension."""
    size = tuple(map(int, size))
    lead = source.ndim - len(size)
    return lead, source.shape[lead:], size


@lowers("adaptive_avg_pool")
def lower_adaptive(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source = lowering.tensor(bound[0])
    shape, dtype = _meta(node)
    lead, spatial, size = _grid(source, bound[1])
    if not is_float(dtype) or any(n % m for n, m in zip(spatial, size, strict=True)):
        raise Unsupported("windows of different sizes")
    # equal windows: a mean over the inner halves of split dimensions
    split: list[int] = list(source.shape[:lead])
    for n, m in zip(spatial, size, strict=True):
        split += [m, n // m]
    tiles = view(source, split, contiguous_strides(split), 0)
    dims = tuple(range(lead + 1, len(split), 2))
    count = math.prod(split[d] for d in dims)
    return lowering.reduce(
        tiles, dims, False, "sum", dtype, dtype, lambda s, v: v, lambda s, v: s.div(v, float(count)),
        "adaptive_avg_pool",
    )


@lowers("adaptive_avg_pool_input_grad")
def lower_adaptive_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient = lowering.tensor(bound[0])
    shape, dtype = _meta(node)
    lead = len(shape) - len(tuple(bound[1]))
    steps = []
    for n, m in zip(shape[lead:], gradient.shape[lead:], strict=True):
        if n % m or n // m > LARGEST_WINDOW**2:
            raise Unsupported("windows of different sizes")
        steps.append(n // m)
    share = 1.0 / math.prod(steps)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        place = [i // k for i, k in zip(c[lead:], steps, strict=True)]
        return s.mul(gradient.at(s, (*c[:lead], *place)), share)

    return Computed(shape, dtype, body, "adaptive_avg_pool_input_grad")


@lowers("cumsum")
def lower_cumsum(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """A running sum: a loop that reads what it wrote one step before. Sums of float32 run in float64, as in eager."""
    source, dim = lowering.tensor(bound[0]), int(bound[1])
    shape, dtype = _meta(node)
    if not shape or 0 in shape or dtype in HALF or dtype == "bool":
        raise Unsupported(f"a running sum of {dtype} {list(shape)}")
    dim %= len(shape)
    wide = "float64" if dtype == "float32" else dtype
    target = Buffer(lowering.name(), wide, shape, contiguous_strides(shape))

    def before(s: TypedAlgebra, c: Coordinates) -> tuple[Value, Any]:
        later = s.gt(s.index(c[dim]), 0)
        return later, s.clamped(s.index(c[dim] - 1), later, shape[dim])

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        later, previous = before(s, c)
        value = s.cast_to(source.at(s, c), wide)
        total = s.load(target, target.index((*c[:dim], previous, *c[dim + 1 :])))
        return s.where(later, s.add(total, value), value)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        # through a run-time index, so that the dimension counts as one in which writes can meet
        own = s.clamped(s.index(c[dim]), s.ge(s.index(c[dim]), 0), shape[dim])
        return (*c[:dim], own, *c[dim + 1 :])

    dims = tuple(Variable(f"i{k}", n) for k, n in enumerate(shape))
    lowering.emit(Loop(
        target, dims, ZERO, body, scatter="set", place=place, origins=lowering._origins("cumsum"),
    ))
    whole = Stored.whole(target)
    if wide == dtype:
        return whole
    return Computed(shape, dtype, lambda s, c: s.cast_to(whole.at(s, c), dtype), "cumsum")
