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


def _declare(name: str, signature: str, one: Callable) -> None:
    """`_foreach_name(signature)` and its in-place form; `one(in_place, *arguments)` is the call for one element."""

    def build(in_place: bool) -> None:
        full = f"_foreach_{name}{'_' if in_place else ''}"
        names = [part.partition("=")[0].strip() for part in signature.split(",")]
        scope: dict[str, Any] = {"each": _each, "one": one, "name": name}
        body = f"[one({in_place}, *row) for row in each(name, {', '.join(names)})]"
        result = "tuple(self)" if in_place else "found"
        exec(f"def {full}({signature}):\n    found = tuple({body})\n    return {result}", scope)  # a parameter list for each family
        function = scope[full]
        function.__doc__ = f"`{name}{'_' if in_place else ''}` of each tensor of a list."
        function.__module__ = __name__
        composite(function, method=False, mutates="self" if in_place else "")

    build(False)
    build(True)


def _named(name: str, in_place: bool) -> Callable:
    return getattr(ops, name + "_" if in_place else name)


for _name in UNARY:
    _declare(_name, "self", lambda in_place, x, name=_name: _named(name, in_place)(x))
for _name, _target in BINARY.items():
    _declare(_name, "self, other", lambda in_place, x, y, name=_target: _named(name, in_place)(x, y))
for _name in ("add", "sub"):
    _declare(_name, "self, other, alpha=1", lambda in_place, x, y, alpha, name=_name: _named(name, in_place)(x, y if alpha == 1 else y * alpha))
for _name in ("addcmul", "addcdiv"):
    _declare(
        _name, "self, tensor1, tensor2, value=1", lambda in_place, x, y, z, value, name=_name: _named(name, in_place)(x, y, z, value=value)
    )
_declare("lerp", "self, tensors1, weight", lambda in_place, x, y, weight: _named("lerp", in_place)(x, y, weight))


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


