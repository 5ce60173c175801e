"""The scalar algebra whose values are expressions of kernel text: every operation
becomes one readable assignment.

A value is placed in the outermost scope in which all that it depends on is known, and computed once
per scope. Scopes are opened and closed by kernel.py: the whole kernel, a row, and the loops of a
nest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inductor.index import Index, Indirect, symbol
from inductor.loops import HALF, TypedAlgebra, Value, is_float

INDEX_ERROR, ZERO_DIVISION = 1, 2
"""Bits of a kernel's result: an index was out of range; an integer was divided by zero."""

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "logical_and": "&", "logical_or": "|", "logical_xor": "^",
}
_ROUNDINGS = {"floor": "round_down", "ceil": "round_up", "trunc": "round_to_zero", "round": "round_even"}
_BY_LIBRARY = (
    "exp exp2 expm1 log log1p log2 log10 rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "erf erfc erfinv lgamma digamma sigmoid i0 fmod remainder floor_div pow atan2 hypot nextafter ldexp"
).split()
_WHOLE = "floor_div int_div remainder fmod gcd lcm pow left_shift right_shift".split()


class Scope:
    """A block of lines and what is known inside it."""

    def __init__(self, variables: frozenset = frozenset()):
        self.variables = variables
        self.lines: list[str] = []
        self.known: dict[str, Value] = {}
        self.written: dict[int, Value] = {}


class ScalarCode(TypedAlgebra):
    """Emits into the innermost suitable one of `scopes`."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[Scope] = [Scope()]
        self.names = 0
        self.fails = False
        self.functions: set[str] = set()
        self.checked: dict[Indirect, frozenset] = {}

    # -- placing
    # ------------------------------------------------------------------------------------

    def level(self, depends: frozenset) -> int:
        """The outermost scope where everything in `depends` is known."""
        missing = set(depends)
        for level, scope in enumerate(self.scopes):
            missing -= scope.variables
            if not missing:
                return level
        raise RuntimeError(f"no scope knows {missing}")

    def emit(self, text: str, dtype: str, depends: frozenset, prefix: str = "t") -> Value:
        """An assignment of `text`, or the name of an equal one made before."""
        level = self.level(depends)
        key = f"{text}|{dtype}"
        for scope in self.scopes[: level + 1]:
            if key in scope.known:
                return scope.known[key]
        name = f"{prefix}{self.names}"
        self.names += 1
        self.scopes[level].lines.append(f"{name} = {text}")
        value = self.scopes[level].known[key] = Value(self, name, dtype, depends)
        return value

    def statement(self, text: str, depends: frozenset) -> None:
        self.scopes[self.level(depends)].lines.append(text)

    def depends(self, index: Index) -> frozenset:
        """What an index depends on: loop variables, and what run-time indices depend on."""
        found: set[Any] = set()
        for leaf in index.leaves():
            found |= self.checked[leaf] if isinstance(leaf, Indirect) else {leaf}
        return frozenset(found)

    # -- TypedAlgebra
    # -------------------------------------------------------------------------------

    def literal(self, value: Any, dtype: str) -> Value:
        return Value(self, literal_text(value, dtype), dtype, frozenset())

    def index(self, index: Index, dtype: str = "int64") -> Value:
        depends = self.depends(index)
        text = str(index) if index.terms else f"int64({index.constant})"
        value = self.emit(text, "int64", depends, "n") if index.terms else \
            Value(self, text, "int64", depends)
        return self.convert(value, dtype) if dtype != "int64" else value

    def indirect(self, value: Value, size: int, wrap: bool = False) -> Index:
        number = self.cast_to(value, "int64")
        if wrap:
            text = f"select({number.code} < 0, {number.code} + {size}, {number.code})"
            number = self.emit(text, "int64", number.depends, "n")
        outside = self.emit(
            f"({number.code} < 0) | ({number.code} >= {size})", "bool", number.depends, "outside"
        )
        self._fail(outside, INDEX_ERROR)
        safe = self.emit(f"select({outside.code}, 0, {number.code})", "int64", number.depends, "n")
        atom = Indirect(safe.code, size)
        self.checked[atom] = number.depends
        return symbol(atom)

    def clamped(self, value: Value, condition: Value, size: int) -> Index:
        depends = value.depends | condition.depends
        safe = self.emit(f"select({condition.code}, {value.code}, 0)", "int64", depends, "n")
        atom = Indirect(safe.code, size)
        self.checked[atom] = depends
        return symbol(atom)

    def _fail(self, condition: Value, code: int) -> None:
        self.fails = True
        key = f"fail {condition.code} {code}"
        level = self.level(condition.depends)
        if key not in self.scopes[level].known:
            self.scopes[level].known[key] = condition
            self.scopes[level].lines.append(f"error |= select({condition.code}, {code}, 0)")

    def convert(self, value: Value, dtype: str) -> Value:
        if value.dtype == dtype:
            return value
        return self.emit(f"to_{dtype}({value.code})", dtype, value.depends)

    def fetch(self, load: str, pointer: str, index: Index, dtype: str) -> Value:
        """A load by one of the load functions."""
        depends = self.depends(index)
        text = f"{load}({pointer}, {index})"
        if dtype in HALF:
            return self.emit(f"from_{dtype}({text})", "float32", depends)
        return self.emit(text, dtype, depends)

    def operation(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        depends = frozenset().union(*(v.depends for v in values))
        codes = [v.code for v in values]
        kind = values[-1].dtype
        if not is_float(kind) and name in ("floor_div", "remainder", "int_div", "fmod"):
            self._fail(self.emit(f"{codes[1]} == 0", "bool", values[1].depends), ZERO_DIVISION)
        if name == "div" and dtype == "bool":
            raise TypeError("true division has no boolean result")
        return self.emit(expression(name, dtype, kind, codes), dtype, depends)

    def random(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        depends = frozenset().union(*(v.depends for v in values))
        return self.emit(f"{name}({', '.join(v.code for v in values)})", dtype, depends)


def literal_text(value: Any, dtype: str) -> str:
    """A constant of a type as source text."""
    if dtype == "bool":
        return str(bool(value))
    if not is_float(dtype):
        return f"{dtype}({int(value)})"
    number = float(value)
    if math.isnan(number):
        return f"{dtype}(nan)"
    if math.isinf(number):
        return f"{dtype}({'-' if number < 0 else ''}inf)"
    if dtype == "float32":
        with np.errstate(over="ignore"):
            single = np.float32(number)
        return literal_text(float(single), "float64").replace("float64", "float32") \
            if np.isinf(single) else f"float32({single!s})"
    return f"float64({number!r})"


def expression(name: str, dtype: str, kind: str, codes: list[str]) -> str:
    """One operation as text; `kind` is the operands' type, `dtype` the result's."""
    if name in _INFIX:
        text = f"{codes[0]} {_INFIX[name]} {codes[1]}"
        if dtype in ("bool", "int64") or is_float(dtype):
            return f"to_bool({text})" if dtype == "bool" and kind == "bool" else text
        return f"to_{dtype}({text})"
    if name == "where":
        return f"select({', '.join(codes)})"
    if name == "logical_not":
        return f"{codes[0]} == False"
    if is_float(kind):
        return _float_expression(name, kind, codes)
    return _integer_expression(name, dtype, kind, codes)


def _float_expression(name: str, kind: str, codes: list[str]) -> str:
    x = codes[0]
    if name in _ROUNDINGS:
        return f"{_ROUNDINGS[name]}({x})"
    if name in _BY_LIBRARY:
        return f"{name}_{kind}({', '.join(codes)})"
    if name in ("maximum", "minimum"):
        return f"{name}({x}, {codes[1]})"
    if name in ("fmax", "fmin"):
        y, sign = codes[1], ">" if name == "fmax" else "<"
        return f"select(({x} {sign} {y}) | ({y} != {y}), {x}, {y})"
    one, zero = f"{kind}(1.0)", f"{kind}(0.0)"
    return {
        "neg": f"-{x}",
        "abs": f"absolute({x})",
        "square": f"{x} * {x}",
        "sqrt": f"square_root({x})",
        "reciprocal": f"{one} / {x}",
        "sign": f"select({x} > {zero}, {one}, select({x} < {zero}, -{one}, {x}))",
        "isnan": f"{x} != {x}",
        "isinf": f"absolute({x}) == {kind}(inf)",
        "isfinite": f"absolute({x}) < {kind}(inf)",
        "signbit": f"bits({x}) < 0",
        "copysign": f"with_sign({x}, {codes[-1]})",
        "round_float16": f"from_float16(to_float16({x}))",
        "round_bfloat16": f"from_bfloat16(to_bfloat16({x}))",
    }[name]


def _integer_expression(name: str, dtype: str, kind: str, codes: list[str]) -> str:
    x = codes[0]
    if name in ("maximum", "minimum", "fmax", "fmin"):
        return f"{name.replace('fm', 'm') + 'imum' if name[0] == 'f' else name}({x}, {codes[1]})"
    if name in _WHOLE:
        wide = [f"to_int64({c})" if kind != "int64" else c for c in codes]
        return f"to_{dtype}(whole_{name}({', '.join(wide)}))"
    if name == "signbit":
        return f"{x} < 0"
    text = {
        "neg": f"-{x}",
        "abs": f"select({x} < 0, -{x}, {x})",
        "square": f"{x} * {x}",
        "bitwise_not": f"~{x}",
        "sign": f"select({x} > 0, 1, select({x} < 0, -1, 0))",
    }[name]
    if kind == "bool" and name in ("abs", "sign", "square"):
        return x
    return f"to_{dtype}({text})"
