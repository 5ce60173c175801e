"""Pooling: each window's positions unrolled in the body of one pointwise loop; positions outside
the image are masked.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from fx.node import Node
from inductor.index import stride_order
from inductor.indexing import _meta, inside
from inductor.loops import TypedAlgebra, Value, is_float
from inductor.lower import Lowering, Unsupported, lowers
from inductor.values import Computed, Coordinates, Lazy

LARGEST_WINDOW = 64
CHEAP = 12  # operations that are done again for every window that a pixel is in


def _all(s: TypedAlgebra, conditions: list[Value]) -> Value | None:
    result = None
    for condition in conditions:
        result = condition if result is None else s.logical_and(result, condition)
    return result


def _taps(kernel: Any) -> list[tuple[int, ...]]:
    taps = list(itertools.product(*map(range, kernel)))
    if len(taps) > LARGEST_WINDOW:
        raise Unsupported(f"a window of {len(taps)} positions")
    return taps


class Window:
    """The windows of a pooling over the last dimensions of `source`."""

    def __init__(self, source: Lazy, kernel: Any, stride: Any, padding: Any, dilation: Any):
        self.source, self.rank = source, len(kernel)
        self.lead = source.ndim - self.rank
        self.how = [tuple(map(int, v)) for v in (kernel, stride, padding, dilation)]
        self.taps = _taps(self.how[0])

    def meet(
        self, s: TypedAlgebra, c: Coordinates, tap: tuple[int, ...]
    ) -> tuple[Value | None, Value, Any]:
        """Whether a position is inside the image, its value (of somewhere else if not), its index
        in the plane.
        """
        conditions, place = [], []
        _, stride, padding, dilation = self.how
        spatial = self.source.shape[self.lead :]
        plane: Any = None
        for d, t in enumerate(tap):
            position = c[self.lead + d] * stride[d] + (t * dilation[d] - padding[d])
            condition, safe = inside(s, position, 0, spatial[d])
            if condition is not None:
                conditions.append(condition)
            place.append(safe)
            plane = position if plane is None else plane * spatial[d] + position
        value = self.source.at(s, (*c[: self.lead], *place))
        return _all(s, conditions), value, plane

    def window(
        self, s: TypedAlgebra, c: Coordinates, tap: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[Value | None, Coordinates]:
        """The other way: whether a position is a tap of a window, and which one."""
        conditions, place = [], []
        _, stride, padding, dilation = self.how
        for d, t in enumerate(tap):
            position = c[self.lead + d] + (padding[d] - t * dilation[d])
            stop = (shape[self.lead + d] - 1) * stride[d] + 1
            condition, safe = inside(s, position, 0, stop, stride[d])
            if condition is not None:
                conditions.append(condition)
            place.append(safe)
        return _all(s, conditions), (*c[: self.lead], *place)

    def best(
        self, s: TypedAlgebra, c: Coordinates, numbered: bool = False
    ) -> tuple[Value, Value]:
        """The largest value and its index in the plane, or the number of its tap."""
        top: Value | None = None
        where: Value | None = None
        for number, tap in enumerate(self.taps):
            here, value, plane = self.meet(s, c, tap)
            if here is not None:
                value = s.where(here, value, s.cast_to(float("-inf"), value.dtype))
            place = s.constant(number, "int32") if numbered else s.index(plane)
            if top is None or where is None:
                top, where = value, place
                if here is not None:
                    where = s.where(here, place, -1)
                continue
            better = s.logical_or(s.gt(value, top), s.isnan(value))
            if here is not None:
                # a window of nothing but -inf still has its first position
                better = s.logical_or(better, s.logical_and(here, s.lt(where, 0)))
            top, where = s.where(better, value, top), s.where(better, place, where)
        assert top is not None and where is not None
        return top, where


@lowers("max_pool", "max_pool_with_indices")
def lower_max_pool(lowering: Lowering, node: Node, bound: tuple) -> Any:
    source = _read_through(lowering, bound[0], bound[1:5])
    window = Window(source, *bound[1:5])
    value = node.meta["val"]
    first = value[0] if isinstance(value, (tuple, list)) else value
    shape, dtype = tuple(map(int, first.shape)), first.dtype.name
    if not is_float(dtype):
        raise Unsupported("a pooling of integers")

    def best(s: TypedAlgebra, c: Coordinates) -> tuple[Value, Value]:
        return s.once((id(window), c), lambda: window.best(s, c))

    def largest(s: TypedAlgebra, c: Coordinates) -> Value:
        top: Value | None = None
        for tap in window.taps:
            here, value, _ = window.meet(s, c, tap)
            if here is not None:
                value = s.where(here, value, s.cast_to(float("-inf"), value.dtype))
            top = value if top is None else s.maximum(top, value)
        assert top is not None
        return top

    if not isinstance(value, (tuple, list)):
        return _as(lowering, source, Computed(shape, dtype, largest, "max_pool"))
    values = Computed(shape, dtype, lambda s, c: best(s, c)[0], "max_pool")
    indices = Computed(shape, "int64", lambda s, c: best(s, c)[1], "max_pool")
    return [lowering.realize(_as(lowering, source, v)) for v in (values, indices)]


def _read_through(lowering: Lowering, node: Any, how: Any) -> Lazy:
    """The image of a pooling: as it is computed, where that is little work and few windows share a
    pixel, or in memory."""
    value = lowering.tensor(node)
    kernel, stride = how[:2]
    if isinstance(value, Computed) and math.prod(kernel) <= 3 * math.prod(stride):
        found = value.inspect()
        if found.weight <= CHEAP and not found.checks and not found.indices:
            return value
    return lowering.realize(value)


def _as(lowering: Lowering, source: Lazy, value: Computed) -> Computed:
    """A pooling whose dimensions are to lie in memory as those of its image."""
    stored = source.stored()
    strides = lowering.natural_strides(source) if stored is None else stored.strides
    value.order = stride_order(strides, source.shape)
    return value


@lowers("max_pool_backward")
def lower_max_pool_backward(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """Each pixel adds up the gradients of the windows in which it is the largest: they are asked
    for the number of theirs."""
    shape, dtype = _meta(node)
    if not is_float(dtype):
        raise Unsupported("a pooling of integers")
    source = _read_through(lowering, bound[1], bound[2:6])
    window = Window(source, *bound[2:6])
    gradient = lowering.realize(lowering.tensor(bound[0]))
    winners = lowering.realize(_as(lowering, source, Computed(
        gradient.shape, "int32", lambda s, c: window.best(s, c, True)[1], "max_pool"
    )))

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        total: Value | None = None
        for number, tap in enumerate(window.taps):
            here, place = window.window(s, c, tap, gradient.shape)
            won = s.eq(winners.at(s, place), number)
            if here is not None:
                won = s.logical_and(here, won)
            value = s.where(won, gradient.at(s, place), 0.0)
            total = value if total is None else s.add(total, value)
        assert total is not None
        return total

    result = _as(lowering, source, Computed(shape, dtype, body, "max_pool_backward"))
    return lowering.realize(result)


@lowers("avg_pool")
def lower_avg_pool(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    kernel, stride, padding, ceil_mode, include, divisor = bound[1:7]
    shape, dtype = _meta(node)
    if ceil_mode or not is_float(dtype):
        raise Unsupported("ceil_mode")
    source = lowering.realize(lowering.tensor(bound[0]))
    window = Window(source, kernel, stride, padding, (1,) * len(kernel))
    fixed = divisor or math.prod(kernel)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        total: Value | None = None
        count: Any = None
        for tap in window.taps:
            here, value, _ = window.meet(s, c, tap)
            one: Any = 1.0
            if here is not None:
                value = s.where(here, value, 0.0)
                one = s.cast_to(here, value.dtype)
            total = value if total is None else s.add(total, value)
            count = one if count is None else s.add(count, one) if isinstance(one, Value) or \
                isinstance(count, Value) else count + one
        assert total is not None
        return s.div(total, float(fixed) if include or divisor else count)

    return _as(lowering, source, Computed(shape, dtype, body, "avg_pool"))


@lowers("avg_pool_input_grad")
def lower_avg_pool_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    spatial, kernel, stride, padding, ceil_mode, include, divisor = bound[1:8]
    shape, dtype = _meta(node)
    if ceil_mode or not (include or divisor or not any(padding)) or not is_float(dtype):
        raise Unsupported("ceil_mode, or padding that is not counted")
    gradient = lowering.realize(lowering.tensor(bound[0]))
    lead = len(shape) - len(kernel)
    taps = _taps(kernel)
    fixed = float(divisor or math.prod(kernel))

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        total: Value | None = None
        for tap in taps:
            conditions, place = [], []
            for d, t in enumerate(tap):
                n = gradient.shape[lead + d]
                position = c[lead + d] + (int(padding[d]) - t)
                condition, safe = inside(s, position, 0, (n - 1) * int(stride[d]) + 1, int(stride[d]))
                if condition is not None:
                    conditions.append(condition)
                place.append(safe)
            value = gradient.at(s, (*c[:lead], *place))
            here = _all(s, conditions)
            if here is not None:
                value = s.where(here, value, 0.0)
            total = value if total is None else s.add(total, value)
        assert total is not None
        return s.div(total, fixed)

    return _as(lowering, gradient, Computed(shape, dtype, body, "avg_pool_input_grad"))
