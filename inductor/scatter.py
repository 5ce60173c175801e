"""Writing at computed places: scatter, index_put, and the gradients of gather and embedding.

A scatter is two loops over one buffer: the first fills it with what was there before, the second
writes or adds. The second is parallel only over dimensions in which no two writes can meet, so that
the sum of equal indices is always made in the same order. Where an index has one entry along its
dimension, the scatter is pointwise instead and fuses like anything else.
"""

from __future__ import annotations

import math
from typing import Any

from eager.op import Op
from fx.node import Node
from inductor.index import ZERO, Variable, contiguous_strides
from inductor.indexing import _meta, broadcast_shape, filled
from inductor.loops import Buffer, Loop, TypedAlgebra, Value
from inductor.lower import Lowering, Unsupported, lowers
from inductor.values import Computed, Coordinates, Lazy, Stored, broadcast


def scatter(
    lowering: Lowering, base: Lazy, shape: tuple[int, ...], place: Any, value: Any, mode: str
) -> Lazy:
    """`base` with `value(s, c)` written at `place(s, c)` for every point c of `shape`."""
    target = lowering.copy(base, contiguous_strides(base.shape)).buffer
    return _write(lowering, target, shape, place, value, mode)


def _write(
    lowering: Lowering, target: Buffer, shape: tuple[int, ...], place: Any, value: Any, mode: str
) -> Lazy:
    """Write into what `target`, a packed buffer, holds."""
    dims = tuple(Variable(f"i{k}", n) for k, n in enumerate(shape))
    lowering.emit(Loop(
        target, dims, ZERO, value, scatter=mode, place=place,
        origins=("scatter",),
    ))
    return Stored.whole(target)


def _source(lowering: Lowering, argument: Any) -> Any:
    value = lowering.argument(argument)
    if isinstance(value, complex):
        raise Unsupported("complex numbers")
    return value


def _at(s: TypedAlgebra, value: Any, c: Coordinates, dtype: str) -> Value:
    if isinstance(value, Lazy):
        return s.cast_to(value.at(s, c), dtype)
    return s.constant(value, dtype)


@lowers("scatter_src", "scatter_value", "scatter_add")
def lower_scatter(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    base, dim, index = lowering.tensor(bound[0]), int(bound[1]), lowering.tensor(bound[2])
    value = _source(lowering, bound[3])
    shape, dtype = _meta(node)
    if not shape or index.ndim != len(shape):
        raise Unsupported("a scalar")
    dim %= len(shape)
    adds = node.target.name == "scatter_add"  # type: ignore[union-attr]
    others = all(n == m for d, (n, m) in enumerate(zip(shape, index.shape, strict=True)) if d != dim)
    if index.shape[dim] == 1 and others and index.numel:
        return _single(base, dim, index, value, adds, shape, dtype)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        where = s.indirect(index.at(s, c), shape[dim])
        return (*c[:dim], where, *c[dim + 1 :])

    return scatter(
        lowering, base, index.shape, place, lambda s, c: _at(s, value, c, dtype),
        "add" if adds else "set",
    )


def _single(
    base: Lazy, dim: int, index: Lazy, value: Any, adds: bool, shape: tuple[int, ...], dtype: str
) -> Lazy:
    """One write per line: a comparison at every element."""

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        line = (*c[:dim], c[dim] * 0, *c[dim + 1 :])
        where = s.indirect(index.at(s, line), shape[dim])
        before = base.at(s, c)
        written = _at(s, value, line, dtype)
        if adds:
            written = s.add(before, written)
        return s.where(s.eq(s.index(c[dim]), s.index(where)), written, before)

    return Computed(shape, dtype, body, "scatter")


@lowers("index_add")
def lower_index_add(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    base, dim, index = lowering.tensor(bound[0]), int(bound[1]), lowering.tensor(bound[2])
    source, alpha = lowering.tensor(bound[3]), bound[4]
    shape, dtype = _meta(node)
    if not shape or index.ndim != 1 or source.ndim != len(shape):
        raise Unsupported("a scalar")
    dim %= len(shape)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        return (*c[:dim], s.indirect(index.at(s, (c[dim],)), shape[dim]), *c[dim + 1 :])

    def value(s: TypedAlgebra, c: Coordinates) -> Value:
        found = s.cast_to(source.at(s, c), dtype)
        return s.mul(found, alpha) if alpha != 1 else found

    return scatter(lowering, base, source.shape, place, value, "add")


@lowers("embedding_weight_grad")
def lower_embedding_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient, index, padding = lowering.tensor(bound[0]), lowering.tensor(bound[1]), bound[3]
    if bound[4]:
        raise Unsupported("scale_grad_by_freq")
    shape, dtype = _meta(node)
    gradient = lowering.realize(gradient)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        return s.indirect(index.at(s, c[:-1]), shape[0]), c[-1]

    def value(s: TypedAlgebra, c: Coordinates) -> Value:
        found = gradient.at(s, c)
        if padding is None:
            return found
        row = s.cast_to(index.at(s, c[:-1]), "int64")
        return s.where(s.eq(row, int(padding) % shape[0]), s.constant(0, dtype), found)

    sum, base = _added_to(lowering, node)
    if sum is None or base is None:
        return scatter(lowering, filled(shape, dtype, 0), gradient.shape, place, value, "add")
    lowering.values[sum] = _write(lowering, base.buffer, gradient.shape, place, value, "add")
    return lowering.values[sum]


def _added_to(lowering: Lowering, node: Node) -> tuple[Node | None, Stored | None]:
    """The sum that alone reads a gradient, and its other term, if that is memory that nobody else
    reads: the gradient is then added into it. So tied embeddings have one large matrix less.
    """
    (user, *others) = node.users or [None]
    if others or user is None or not isinstance(user.target, Op) or user.target.name != "add":
        return None, None
    first, second, *alpha = user.target.bind(tuple(user.args), dict(user.kwargs))
    source = second if first is node else first
    if first is second or alpha != [1] or not isinstance(source, Node):
        return None, None
    value = lowering.values.get(source)
    stored = value.stored() if isinstance(value, Lazy) else None
    shape, dtype = _meta(node)
    if stored is None or stored.buffer.kind != "temporary" or stored.dtype != dtype:
        return None, None
    whole = (shape, contiguous_strides(shape), 0) == (stored.shape, stored.strides, stored.offset)
    while source.op == "call_function" and len(source.users) == 1:
        if getattr(source.target, "kind", "") != "view":
            fresh = whole and stored.buffer.size == math.prod(shape)
            return (user, stored) if fresh else (None, None)
        source = source.args[0]  # type: ignore[assignment]
    return None, None


@lowers("index_put")
def lower_index_put(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    base, indices = lowering.tensor(bound[0]), lowering.argument(bound[1])
    value, accumulate = lowering.tensor(bound[2]), bool(bound[3])
    shape, dtype = _meta(node)
    tensors = [i for i in indices if i is not None]
    if not tensors or not all(isinstance(i, Lazy) and i.dtype in ("int64", "int32") for i in tensors):
        raise Unsupported("indices that are no integers")
    places = [d for d, i in enumerate(indices) if i is not None]
    joined = broadcast_shape([t.shape for t in tensors])
    adjacent = places == list(range(places[0], places[0] + len(places)))
    front = places[0] if adjacent else 0
    count = len(joined)
    rest = [n for d, n in enumerate(shape) if d not in places]
    domain = (*rest[:front], *joined, *rest[front:])
    spread = broadcast(value, domain)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        point, other = c[front : front + count], [*c[:front], *c[front + count :]]
        result = []
        for d in range(len(shape)):
            index = indices[d] if d < len(indices) else None
            if index is None:
                result.append(other.pop(0))
            else:
                number = index.at(s, broadcast(index, joined)(point))
                result.append(s.indirect(number, shape[d], wrap=True))
        return tuple(result)

    return scatter(
        lowering, base, domain, place, lambda s, c: s.cast_to(value.at(s, spread(c)), dtype),
        "add" if accumulate else "set",
    )


@lowers("max_pool_input_grad")
def lower_pool_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient, indices = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    shape, dtype = _meta(node)
    rank = len(tuple(bound[2]))
    lead = len(shape) - rank
    plane = 1
    for n in shape[lead:]:
        plane *= n
    flat = (*shape[:lead], plane)
    gradient, indices = lowering.realize(gradient), lowering.realize(indices)

    def place(s: TypedAlgebra, c: Coordinates) -> Coordinates:
        return (*c[:lead], s.indirect(indices.at(s, c), plane))

    result = scatter(
        lowering, filled(flat, dtype, 0), gradient.shape, place,
        lambda s, c: gradient.at(s, c), "add",
    )
    assert isinstance(result, Stored)
    return Stored(result.buffer, shape, contiguous_strides(shape))


