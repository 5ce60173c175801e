"""Externs that are loops all the same: creation, concatenation, padding, gathering, and gradients
of views.

Indices read from tensors are checked where they are used: the kernel returns an error code, which
becomes eager's IndexError, and reads nothing out of range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fx.node import Node
from inductor.index import Index, channels_last, contiguous_strides
from inductor.loops import Buffer, TypedAlgebra, Value, pointwise
from inductor.lower import Lowering, Unsupported, lowers, view
from inductor.values import Computed, Coordinates, Lazy, Stored, broadcast


def _meta(node: Node) -> tuple[tuple[int, ...], str]:
    value = node.meta["val"]
    return tuple(map(int, value.shape)), value.dtype.name


def filled(shape: tuple[int, ...], dtype: str, value: Any) -> Computed:
    """One number everywhere."""
    return Computed(shape, dtype, lambda s, c: s.constant(value, dtype), "full")


@lowers("zeros", "ones", "empty", "zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones",
        "new_empty", "empty_strided", "new_empty_strided")
def lower_constant(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    return filled(*_meta(node), 1 if "ones" in node.target.name else 0)  # type: ignore[union-attr]


@lowers("full", "full_like", "new_full", "fill")
def lower_full(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    value = lowering.argument(bound[2 if node.target.name == "new_full" else 1])  # type: ignore[union-attr]
    if isinstance(value, Lazy):
        return Computed(shape, dtype, lambda s, c: value.at(s, ()), "full")
    if isinstance(value, complex):
        raise Unsupported("complex numbers")
    return filled(shape, dtype, value)


@lowers("scalar_tensor", "tensor")
def lower_scalar(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    if not isinstance(bound[0], (int, float, bool)):
        raise Unsupported("not a number")
    return filled(*_meta(node), bound[0])


@lowers("arange")
def lower_arange(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    start, end, step = bound[:3]
    if end is None:
        start, end = 0, start
    step = 1 if step is None else step
    if not all(isinstance(n, (int, float)) for n in (start, step)):
        raise Unsupported("bounds that are not numbers")
    whole = isinstance(start, int) and isinstance(step, int)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        if whole:
            return s.index(c[0] * int(step) + int(start))
        number = s.mul(s.cast_to(s.index(c[0]), "float64"), float(step))
        return s.add(number, float(start))

    return Computed(shape, dtype, body, "arange")


@lowers("clone", "contiguous", "detach", "alias", "lift_fresh")
def lower_clone(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """A pure graph needs no copies; an input that is returned is copied by the output."""
    return lowering.tensor(bound[0])


def _sequence(lowering: Lowering, argument: Any) -> list[Lazy]:
    values = lowering.argument(argument)
    if not isinstance(values, list) or not all(isinstance(v, Lazy) for v in values):
        raise Unsupported("a list of tensors was expected")
    return values


@lowers("cat", "concat", "concatenate")
def lower_cat(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """Each part is written into its place of one buffer."""
    parts = _sequence(lowering, bound[0])
    shape, dtype = _meta(node)
    dim = int(bound[1]) % len(shape)
    target = Buffer(lowering.name(), dtype, shape, _joined_strides(lowering, parts, shape))
    start = 0
    for part in parts:
        if part.ndim != len(shape):  # an empty vector joins anything
            continue
        place_part(lowering, target, part, dim, start)
        start += part.shape[dim]
    return Stored.whole(target)


def _joined_strides(
    lowering: Lowering, parts: Sequence[Lazy], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Row-major, but images whose channels come last are joined so."""
    largest = max(parts, key=lambda part: part.numel)
    if largest.ndim == len(shape) == 4 and math.prod(largest.shape[2:]) > 1 < largest.shape[1]:
        strides = lowering.natural_strides(largest)
        if strides == channels_last(largest.shape):
            return channels_last(shape)
    return contiguous_strides(shape)


def place_part(lowering: Lowering, target: Buffer, part: Lazy, dim: int, start: int) -> None:
    """A loop that writes a slice of a buffer."""
    piece = Buffer(target.name, target.dtype, part.shape, target.strides)
    loop = pointwise(piece, part.at, origins=("part",))
    loop.write = loop.write + start * target.strides[dim]
    loop.target = target
    lowering.emit(loop)


@lowers("stack")
def lower_stack(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    parts = _sequence(lowering, bound[0])
    shape, dtype = _meta(node)
    dim = int(bound[1]) % len(shape)
    target = Buffer(lowering.name(), dtype, shape, contiguous_strides(shape))
    for position, part in enumerate(parts):
        full = (*part.shape[:dim], 1, *part.shape[dim:])
        place_part(
            lowering, target, view(part, full, contiguous_strides(full), 0), dim, position
        )
    return Stored.whole(target)


def inside(
    s: TypedAlgebra, position: Index, start: int, stop: int, step: int = 1
) -> tuple[Value | None, Index]:
    """Whether start <= position < stop on the step, and which one it is: an index safe to read
    either way.
    """
    low, high = position.bounds()
    count = -(-(stop - start) // step)
    tests: list[Value] = []
    if low < start:
        tests.append(s.ge(s.index(position), start))
    if high >= stop:
        tests.append(s.lt(s.index(position), stop))
    if step > 1:
        tests.append(s.eq(s.index((position - start) % step), 0))
    relative = (position - start) // step
    if not tests:
        return None, relative
    condition = tests[0]
    for test in tests[1:]:
        condition = s.logical_and(condition, test)
    return condition, s.clamped(s.index(relative), condition, max(count, 1))


@lowers("constant_pad_nd", "constant_pad")
def lower_pad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source, widths = lowering.tensor(bound[0]), tuple(map(int, bound[1]))
    number = bound[2] if len(bound) > 2 else 0
    shape, dtype = _meta(node)
    before = [0] * source.ndim
    for k in range(len(widths) // 2):
        before[source.ndim - 1 - k] = widths[2 * k]
    source_shape = source.shape

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        conditions, place = [], []
        for position, first, n in zip(c, before, source_shape, strict=True):
            condition, index = inside(s, position, first, first + n)
            if first < 0 or condition is None:
                index = position - first if condition is None else index
            if condition is not None:
                conditions.append(condition)
            place.append(index)
        value = source.at(s, tuple(place))
        return masked(s, conditions, value, number, dtype)

    if 0 in source_shape:
        return filled(shape, dtype, number)
    return Computed(shape, dtype, body, "pad")


def masked(
    s: TypedAlgebra, conditions: list[Value], value: Value, other: Any, dtype: str
) -> Value:
    """`value` where all conditions hold, the number `other` elsewhere."""
    if not conditions:
        return value
    condition = conditions[0]
    for more in conditions[1:]:
        condition = s.logical_and(condition, more)
    return s.where(condition, value, s.cast_to(s.constant(other, dtype), value.dtype))


@lowers("select_backward")
def lower_select_backward(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient = lowering.tensor(bound[0])
    shape, dtype = _meta(node)
    dim, index = int(bound[2]) % len(shape), int(bound[3])
    index = index % shape[dim]

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        value = gradient.at(s, (*c[:dim], *c[dim + 1 :]))
        if shape[dim] == 1:
            return value
        return masked(s, [s.eq(s.index(c[dim]), index)], value, 0, dtype)

    return Computed(shape, dtype, body, "select_backward")


@lowers("slice_backward")
def lower_slice_backward(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient = lowering.tensor(bound[0])
    shape, dtype = _meta(node)
    dim = int(bound[2]) % len(shape)
    n, length = shape[dim], gradient.shape[dim]
    start, _, step = slice(*[None if b is None else int(b) for b in bound[3:6]]).indices(n)
    if gradient.numel == 0:
        return filled(shape, dtype, 0)
    aligned = step == 1 and n % length == 0 and start % length == 0

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        if aligned:
            # whole parts: a division that disappears when the loop is split into the parts
            conditions = [s.eq(s.index(c[dim] // length), start // length)] if n > length else []
            place = c[dim] % length
        else:
            condition, place = inside(s, c[dim], start, start + (length - 1) * step + 1, step)
            conditions = [condition] if condition is not None else []
        value = gradient.at(s, (*c[:dim], place, *c[dim + 1 :]))
        return masked(s, conditions, value, 0, dtype)

    return Computed(shape, dtype, body, "slice_backward")


@lowers("index_select")
def lower_index_select(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source, dim, index = lowering.tensor(bound[0]), int(bound[1]), lowering.tensor(bound[2])
    shape, dtype = _meta(node)
    if source.ndim == 0:
        raise Unsupported("a scalar")
    dim %= source.ndim
    source = keep_cheap(lowering, source)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        where = s.indirect(index.at(s, (c[dim],) if index.ndim else ()), source.shape[dim])
        return source.at(s, (*c[:dim], where, *c[dim + 1 :]))

    return Computed(shape, dtype, body, "index_select")


def keep_cheap(lowering: Lowering, source: Lazy) -> Lazy:
    """What is read at computed places is stored first unless that is nothing."""
    if isinstance(source, Computed) and source.realized is None and source.inspect().weight > 8:
        return lowering.realize(source)
    return source


@lowers("embedding")
def lower_embedding(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    index, table = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    shape, dtype = _meta(node)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        row = s.indirect(index.at(s, c[:-1]), table.shape[0])
        return table.at(s, (row, c[-1]))

    return Computed(shape, dtype, body, "embedding")


@lowers("gather")
def lower_gather(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source, dim, index = lowering.tensor(bound[0]), int(bound[1]), lowering.tensor(bound[2])
    shape, dtype = _meta(node)
    if source.ndim == 0 or index.ndim == 0:
        raise Unsupported("a scalar")
    dim %= source.ndim

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        where = s.indirect(index.at(s, c), source.shape[dim])
        return source.at(s, (*c[:dim], where, *c[dim + 1 :]))

    return Computed(shape, dtype, body, "gather")


@lowers("index", "_unsafe_index", "index_get")
def lower_index(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """Indexing with tensors of integers (negative ones count from the end)."""
    source = lowering.tensor(bound[0])
    indices = lowering.argument(bound[1])
    shape, dtype = _meta(node)
    if not isinstance(indices, list):
        raise Unsupported("indices that are no list")
    tensors = [i for i in indices if i is not None]
    if not all(isinstance(i, Lazy) and i.dtype in ("int64", "int32") for i in tensors):
        raise Unsupported("indices that are no integers")
    places = [d for d, i in enumerate(indices) if i is not None]
    joined = broadcast_shape([t.shape for t in tensors])
    adjacent = places == list(range(places[0], places[0] + len(places)))
    front = places[0] if adjacent else 0
    count = len(joined)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        point = c[front : front + count]
        rest = list((*c[:front], *c[front + count :]))
        place = []
        for d in range(source.ndim):
            index = indices[d] if d < len(indices) else None
            if index is None:
                place.append(rest.pop(0))
            else:
                number = index.at(s, broadcast(index, joined)(point))
                place.append(s.indirect(number, source.shape[d], wrap=True))
        return source.at(s, tuple(place))

    return Computed(shape, dtype, body, "index")


def broadcast_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        for k, n in enumerate(shape, start=rank - len(shape)):
            if n != 1:
                result[k] = n
    return tuple(result)


@lowers("tril", "triu")
def lower_triangle(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source, diagonal = lowering.tensor(bound[0]), int(bound[1])
    shape, dtype = _meta(node)
    lower = node.target.name == "tril"  # type: ignore[union-attr]

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        distance = s.index(c[-1] - c[-2])
        keep = s.le(distance, diagonal) if lower else s.ge(distance, diagonal)
        return masked(s, [keep], source.at(s, c), 0, dtype)

    return Computed(shape, dtype, body, "tril" if lower else "triu")


@lowers("flip")
def lower_flip(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    source = lowering.tensor(bound[0])
    dims = bound[1] if isinstance(bound[1], (tuple, list)) else (bound[1],)
    turned = {int(d) % source.ndim for d in dims}

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        return source.at(s, tuple(
            i * -1 + (n - 1) if d in turned else i
            for d, (i, n) in enumerate(zip(c, source.shape, strict=True))
        ))

    return Computed(source.shape, source.dtype, body, "flip")



@lowers("max_dim", "min_dim")
def lower_extremum(lowering: Lowering, node: Node, bound: tuple) -> list[Lazy]:
    """Values and positions: two reductions, which the scheduler puts into one kernel."""
    source, dim, keepdim = lowering.tensor(bound[0]), int(bound[1]), bool(bound[2])
    if source.ndim == 0:
        raise Unsupported("a scalar")
    dim %= source.ndim
    kind = "max" if node.target.name == "max_dim" else "min"  # type: ignore[union-attr]

    def same(s: TypedAlgebra, value: Value) -> Value:
        return value

    return [
        lowering.reduce(source, (dim,), keepdim, combine, source.dtype, dtype, same, None, kind)
        for combine, dtype in ((kind, source.dtype), (f"arg{kind}", "int64"))
    ]
