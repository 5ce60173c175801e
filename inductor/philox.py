"""Random operators in their pure form: every element is a function of (seed, offset, position),
drawn inside the kernel that uses it.
"""

from __future__ import annotations

from typing import Any

from fx.node import Node
from inductor.index import Index, contiguous_strides, linear
from inductor.indexing import _meta
from inductor.loops import TypedAlgebra, Value
from inductor.lower import Lowering, Unsupported, lowers
from inductor.values import Computed, Coordinates, Lazy


def _state(s: TypedAlgebra, seed: Lazy, extra: int) -> tuple[Value, Value]:
    offset = seed.at(s, (Index({}, 1),))
    return seed.at(s, (Index({}),)), s.add(offset, extra) if extra else offset


def _draw(seed: Lazy, shape: tuple[int, ...], dtype: str, extra: int, name: str, more: tuple) -> Lazy:
    strides = contiguous_strides(shape)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        lane = s.index(linear(c, strides))
        values = (*_state(s, seed, extra), lane, *(s.constant(n, "int64") for n in more))
        result = "int64" if more else name.rsplit("_", 1)[1]
        return s.random(name, result, values)

    return Computed(shape, dtype, body, "random")


@lowers("philox_uniform")
def lower_uniform(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    if dtype not in ("float32", "float64"):
        raise Unsupported(f"uniform numbers in {dtype}")
    seed = lowering.tensor(bound[0])
    return _draw(seed, shape, dtype, int(bound[3]), f"random_uniform_{dtype}", ())


@lowers("philox_normal")
def lower_normal(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    if dtype != "float32":
        raise Unsupported(f"normal numbers in {dtype}")
    return _draw(lowering.tensor(bound[0]), shape, dtype, int(bound[3]), "random_normal_float32", ())


@lowers("philox_randint")
def lower_randint(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    shape, dtype = _meta(node)
    low, high = bound[2], bound[3]
    if not isinstance(low, int) or not isinstance(high, int) or high - low >= 2**63:
        raise Unsupported("bounds that are not numbers")
    more: Any = (low, high - low)
    return _draw(lowering.tensor(bound[0]), shape, dtype, int(bound[5]), "random_integer", more)
