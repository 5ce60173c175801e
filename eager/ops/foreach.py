"""Operators over lists of tensors, `_foreach_NAME` and `_foreach_NAME_`: what optimizers step with. Each is the operator of that name for
one tensor after the other, so that a compiled program joins them in its loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.op import composite
from eager.registry import ops
from eager.tensor import Tensor

UNARY = (
    "abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal round rsqrt sigmoid sign"
    " sin sinh sqrt tan tanh trunc"
).split()
# The operator for one tensor, where it has another name.
BINARY = {
    "mul": "mul", "div": "div", "maximum": "clamp_min", "minimum": "clamp_max", "clamp_max": "clamp_max", "clamp_min": "clamp_min",
    "pow": "pow",
}  # fmt: skip


def _each(name: str, first: Any, *others: Any) -> list:
    """The arguments of each call: lists element by element, one value for all. Raises RuntimeError for lists of other lengths."""
    if not isinstance(first, (tuple, list)) or not first:
        raise RuntimeError(f"_foreach_{name}: Tensor list must have at least one tensor.")
    columns: list = [list(first)]
    for other in others:
        if isinstance(other, (tuple, list)) or (isinstance(other, Tensor) and other.ndim == 1):
            values = list(other) if isinstance(other, (tuple, list)) else other.tolist()
            if len(values) != len(first):
                raise RuntimeError(f"_foreach_{name}: Tensor lists must have the same number of tensors, got {len(first)} and {len(values)}")
            columns.append(values)
        else:
            columns.append([other] * len(first))
    return list(zip(*columns))


def _named(name: str, in_place: bool) -> Callable:
    return getattr(ops, name + "_" if in_place else name)


def _unary(name: str, in_place: bool) -> Callable:
    def function(self):
        return tuple(_named(name, in_place)(x) for (x,) in _each(name, self))

    return function


def _binary(name: str, in_place: bool) -> Callable:
    def function(self, other):
        return tuple(_named(BINARY[name], in_place)(x, y) for x, y in _each(name, self, other))

    return function


def _scaled(name: str, in_place: bool) -> Callable:
    def function(self, other, alpha=1):
        rows = _each(name, self, other)
        return tuple(_named(name, in_place)(x, y if alpha == 1 else y * alpha) for x, y in rows)

    return function


def _fused(name: str, in_place: bool) -> Callable:
    def function(self, tensor1, tensor2, value=1):
        rows = _each(name, self, tensor1, tensor2, value)
        return tuple(_named(name, in_place)(x, y, z, value=scale) for x, y, z, scale in rows)

    return function


def _mixed(name: str, in_place: bool) -> Callable:
    def function(self, tensors1, weight):
        return tuple(_named(name, in_place)(x, y, share) for x, y, share in _each(name, self, tensors1, weight))

    return function


for _family, _names in ((_unary, UNARY), (_binary, BINARY), (_scaled, ("add", "sub")), (_fused, ("addcmul", "addcdiv")), (_mixed, ("lerp",))):
    for _name in _names:
        for _suffix in ("", "_"):
            _function = _family(_name, bool(_suffix))
            _function.__doc__ = f"`{_name}{_suffix}` of each tensor of a list."
            composite(_function, name=f"_foreach_{_name}{_suffix}", method=False, mutates="self" if _suffix else "")


@composite(method=False)
def _foreach_norm(self, ord=2, dtype=None):
    """The norm of each tensor of a list."""
    return tuple(ops.linalg_vector_norm(x, ord, dtype=dtype) for (x,) in _each("norm", self))


@composite(method=False)
def _foreach_max(self):
    """The largest element of each tensor of a list."""
    return tuple(ops.amax(x) for (x,) in _each("max", self))


@composite(method=False)
def _foreach_clone(self):
    """A copy of each tensor of a list."""
    return tuple(ops.clone(x) for (x,) in _each("clone", self))


@composite(method=False)
def _foreach_mm(self, mat2):
    """The products of matrices, pair by pair."""
    return tuple(ops.mm(x, y) for x, y in _each("mm", self, mat2))


@composite(method=False, mutates="self")
def _foreach_copy_(self, src, non_blocking=False):
    """Overwrites each tensor of a list with the one of another."""
    for x, y in _each("copy_", self, src):
        ops.copy_(x, y)
    return tuple(self)


@composite(method=False, mutates="self")
def _foreach_zero_(self):
    """Overwrites each tensor of a list with zeros."""
    for (x,) in _each("zero_", self):
        ops.fill_(x, 0)
    return tuple(self)


