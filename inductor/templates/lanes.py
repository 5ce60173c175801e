"""The text of generated kernels, interpreted by vectors: what a scalar loop says, written as LLVM IR of whole lanes.

Kernels of pointwise loops are Python text over a small vocabulary (`select`, `polynomial`, `exp_float32`,
...). `run` executes such text with vectors in the place of scalars, and the functions of
`vectormath.py` with it, so that an epilogue of a matrix product computes exactly what the loop would
have.
"""

from __future__ import annotations

import functools
import math
import types
from typing import Any

from llvmlite import ir

from inductor.templates.emit import F32, F64, I32, I64, Emitter, splatted

CONTRACT = ("contract",)

OPERATIONS = frozenset(
    "add sub mul div neg abs square sqrt rsqrt reciprocal exp exp2 expm1 log log1p tanh sigmoid erf sin cos "
    "maximum minimum where eq ne lt le gt ge logical_and logical_or logical_not sign isnan isinf isfinite copysign "
    "floor ceil round trunc pow".split()
)
"""What the vocabulary covers, by the names of the scalar algebra."""


class Lanes:
    """A vector value with the operators of a scalar."""

    __array_ufunc__ = None  # NumPy's scalars leave the operation to us

    def __init__(self, e: Emitter, value: ir.Value) -> None:
        self.e, self.value = e, value

    @property
    def is_float(self) -> bool:
        return self.value.type.element in (F32, F64)

    def like(self, other: Any) -> Lanes:
        """`other` as a vector of this one's type."""
        if isinstance(other, Lanes):
            return other
        number = float(other) if self.is_float else int(other)
        return Lanes(self.e, splatted(self.value.type, number))

    @property
    def count(self) -> int:
        return self.value.type.count

    def _arithmetic(self, name: str, other: Any, swap: bool = False) -> Lanes:
        a, b = self.value, self.like(other).value
        if swap:
            a, b = b, a
        builder = self.e.builder
        if not self.is_float:
            return Lanes(self.e, getattr(builder, name)(a, b))
        flags = CONTRACT if name in ("add", "sub", "mul") else ()
        return Lanes(self.e, getattr(builder, f"f{name}")(a, b, flags=flags))

    def _compare(self, relation: str, other: Any) -> Lanes:
        a, b = self.value, self.like(other).value
        builder = self.e.builder
        if not self.is_float:
            return Lanes(self.e, builder.icmp_signed(relation, a, b))
        compare = builder.fcmp_unordered if relation == "!=" else builder.fcmp_ordered
        return Lanes(self.e, compare(relation, a, b))

    def _bitwise(self, name: str, other: Any) -> Lanes:
        return Lanes(self.e, getattr(self.e.builder, name)(self.value, self.like(other).value))

    def __add__(self, other: Any) -> Lanes:
        return self._arithmetic("add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Lanes:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: Any) -> Lanes:
        return self._arithmetic("sub", other, swap=True)

    def __mul__(self, other: Any) -> Lanes:
        return self._arithmetic("mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Lanes:
        return self._arithmetic("div", other)

    def __rtruediv__(self, other: Any) -> Lanes:
        return self._arithmetic("div", other, swap=True)

    def __neg__(self) -> Lanes:
        builder = self.e.builder
        return Lanes(self.e, builder.fneg(self.value) if self.is_float else builder.neg(self.value))

    def __lt__(self, other: Any) -> Lanes:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Lanes:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Lanes:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Lanes:
        return self._compare(">=", other)

    def __eq__(self, other: Any) -> Lanes:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Lanes:  # type: ignore[override]
        return self._compare("!=", other)

    def __and__(self, other: Any) -> Lanes:
        return self._bitwise("and_", other)

    def __or__(self, other: Any) -> Lanes:
        return self._bitwise("or_", other)

    def __xor__(self, other: Any) -> Lanes:
        return self._bitwise("xor", other)

    def __lshift__(self, other: Any) -> Lanes:
        return self._bitwise("shl", other)

    def __rshift__(self, other: Any) -> Lanes:
        return self._bitwise("ashr", other)

    __hash__ = None  # type: ignore[assignment]


class _Vocabulary:
    """The functions that text may call, over lanes."""

    def __init__(self, e: Emitter) -> None:
        self.e = e

    def names(self) -> dict[str, Any]:
        e = self.e
        found: dict[str, Any] = {
            name: getattr(self, name)
            for name in "select bits from_bits polynomial with_sign maximum minimum to_bool".split()
        }
        for name, intrinsic in _FLOAT_INTRINSICS.items():
            found[name] = functools.partial(self._unary, intrinsic)
        for name, element in (("float32", F32), ("float64", F64), ("int32", I32), ("int64", I64)):
            kind = ir.VectorType(element, e.lanes)
            found[name] = found[f"to_{name}"] = functools.partial(self._to, kind)
        return found

    def _constant(self, kind: ir.VectorType, number: Any) -> Lanes:
        number = float(number) if kind.element in (F32, F64) else int(number)
        return Lanes(self.e, splatted(kind, number))

    def _to(self, kind: ir.VectorType, value: Any) -> Lanes:
        if not isinstance(value, Lanes):
            return self._constant(kind, value)
        old, builder = value.value.type.element, self.e.builder
        if old == kind.element:
            return value
        floating = kind.element in (F32, F64)
        if old == ir.IntType(1):
            convert = builder.uitofp if floating else builder.zext
        elif value.is_float:
            wider = kind.element == F64
            convert = (builder.fpext if wider else builder.fptrunc) if floating else builder.fptosi
        elif floating:
            convert = builder.sitofp
        else:
            convert = builder.sext if kind.element.width > old.width else builder.trunc
        return Lanes(self.e, convert(value.value, kind))

    def _unary(self, intrinsic: str, value: Lanes) -> Lanes:
        kind = value.value.type
        name = f"llvm.{intrinsic}.{self.e.suffix(kind)}"
        return Lanes(self.e, self.e.intrinsic(name, kind, value.value))

    def _binary(self, intrinsic: str, left: Lanes, right: Any) -> Lanes:
        kind = left.value.type
        name = f"llvm.{intrinsic}.{self.e.suffix(kind)}"
        return Lanes(self.e, self.e.intrinsic(name, kind, left.value, left.like(right).value))

    def select(self, condition: Lanes, yes: Any, no: Any) -> Lanes:
        pattern = next((x for x in (yes, no) if isinstance(x, Lanes)), None)
        if pattern is None:  # numbers only
            pattern = Lanes(self.e, self.e.constant(0.0))
        yes, no = pattern.like(yes), pattern.like(no)
        return Lanes(self.e, self.e.builder.select(condition.value, yes.value, no.value))

    def bits(self, value: Lanes) -> Lanes:
        element = I32 if value.value.type.element == F32 else I64
        kind = ir.VectorType(element, value.count)
        return Lanes(self.e, self.e.builder.bitcast(value.value, kind))

    def from_bits(self, value: Lanes) -> Lanes:
        element = F32 if value.value.type.element == I32 else F64
        kind = ir.VectorType(element, value.count)
        return Lanes(self.e, self.e.builder.bitcast(value.value, kind))

    def polynomial(self, x: Lanes, coefficients: tuple[float, ...]) -> Lanes:
        total = x.like(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            total = total * x + x.like(coefficient)
        return total

    def with_sign(self, size: Lanes, sign: Lanes) -> Lanes:
        return self._binary("copysign", size, sign)

    def maximum(self, left: Lanes, right: Any) -> Lanes:
        return self._binary("maximum", left, right)

    def minimum(self, left: Lanes, right: Any) -> Lanes:
        return self._binary("minimum", left, right)

    def to_bool(self, value: Lanes) -> Lanes:
        return value if value.value.type.element == ir.IntType(1) else value != 0


_FLOAT_INTRINSICS = {
    "absolute": "fabs", "square_root": "sqrt", "round_even": "rint", "round_down": "floor",
    "round_up": "ceil", "round_to_zero": "trunc",
}


def _bind(text: Any, vocabulary: dict[str, Any]) -> dict[str, Any]:
    """The functions of the math library that code calls, with the vocabulary in the place of its
    words.
    """
    from inductor.codegen import build

    library = build.library()
    bound: dict[str, Any] = {}
    scopes: list[dict[str, Any]] = []
    waiting = list(text.co_names)
    while waiting:
        name = waiting.pop()
        original = library.get(name)
        if original is None or name in bound or name in vocabulary:
            continue
        scope = {**original.__globals__, **vocabulary}
        bound[name] = types.FunctionType(original.__code__, scope, name, original.__defaults__)
        scopes.append(scope)
        waiting.extend(original.__code__.co_names)
    for scope in scopes:
        scope.update(bound)
    return bound


def run(e: Emitter, text: str, given: dict[str, Any]) -> dict[str, Any]:
    """Execute assignments over lanes, with further names; the result is all names there are then."""
    code = compile(text, "<epilogue>", "exec")
    vocabulary = _Vocabulary(e).names() | {"inf": math.inf, "nan": math.nan}
    names = vocabulary | _bind(code, vocabulary) | given
    exec(code, names)  # noqa: S102  (text of our own making)
    return names
