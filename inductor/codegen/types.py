"""The types of kernel text, as LLVM spells them, and the values that have them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scalar:
    """A number: `kind` is "b", "i", "u" or "f" (boolean, signed, unsigned, floating)."""

    name: str
    kind: str
    bits: int

    @property
    def llvm(self) -> str:
        """In a register."""
        if self.kind == "f":
            return "float" if self.bits == 32 else "double"
        return f"i{self.bits}"

    @property
    def memory(self) -> str:
        """In memory: a boolean takes a byte."""
        return "i8" if self.kind == "b" else self.llvm

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Pointer:
    """The address of elements of a type."""

    element: Scalar
    llvm = "ptr"

    def __str__(self) -> str:
        return f"pointer_{self.element}"


@dataclass(frozen=True)
class Record:
    """What a function returns that returns several values."""

    parts: tuple[Scalar, ...]

    @property
    def llvm(self) -> str:
        return f"{{{', '.join(part.llvm for part in self.parts)}}}"


Type = Scalar | Pointer | Record

BOOL = Scalar("bool", "b", 1)
INT8, INT16, INT32, INT64 = (Scalar(f"int{bits}", "i", bits) for bits in (8, 16, 32, 64))
UINT8, UINT16, UINT32, UINT64 = (Scalar(f"uint{bits}", "u", bits) for bits in (8, 16, 32, 64))
FLOAT32, FLOAT64 = Scalar("float32", "f", 32), Scalar("float64", "f", 64)
SCALARS = {
    scalar.name: scalar
    for scalar in (
        BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT32, FLOAT64,
    )
}


@dataclass(frozen=True, slots=True)
class Value:
    """An operand of LLVM instructions; `number` is known of literals."""

    type: Any
    code: str
    number: Any = None

    @property
    def typed(self) -> str:
        """With its type, as arguments and stored values are written."""
        return f"{self.type.llvm} {self.code}"


def literal(number: Any, scalar: Scalar | None = None) -> Value:
    """A number as an operand; of NumPy's own type, int64 or float64 where none is given."""
    scalar = scalar or _type_of(number)
    if scalar.kind == "f":
        with np.errstate(over="ignore"):
            number = float(np.float32(number)) if scalar.bits == 32 else float(number)
        return Value(scalar, _float_code(number), number)
    if scalar.kind == "b":
        return Value(scalar, "true" if number else "false", bool(number))
    number = int(number) & (1 << scalar.bits) - 1
    if scalar.kind == "i" and number >> scalar.bits - 1:
        number -= 1 << scalar.bits
    return Value(scalar, str(number), number)


def _type_of(number: Any) -> Scalar:
    if isinstance(number, np.generic):
        return SCALARS[number.dtype.name]
    if isinstance(number, bool):
        return BOOL
    if isinstance(number, int):
        return UINT64 if number >= 1 << 63 else INT64
    if isinstance(number, float):
        return FLOAT64
    raise TypeError(f"{number!r} is no number")


def _float_code(number: float) -> str:
    """The bits as LLVM wants them: those of a double, also for a float."""
    if math.isnan(number):
        return "0x7FF8000000000000"
    return f"0x{struct.unpack('>Q', struct.pack('>d', number))[0]:016X}"


def unify(left: Scalar, right: Scalar) -> Scalar:
    """The type of both sides of an operation, as Numba has it: what holds the values of either, and
    float64 of an integer and a float.

    Raises TypeError for int64 and uint64, which no integer type holds both.
    """
    if left == right or right.kind == "b":
        return left
    if left.kind == "b":
        return right
    if left.kind == "f" or right.kind == "f":
        if left.kind == right.kind:
            return left if left.bits > right.bits else right
        return FLOAT64
    if left.kind == right.kind:
        return left if left.bits > right.bits else right
    signed, unsigned = (left, right) if left.kind == "i" else (right, left)
    if unsigned.bits == 64:
        raise TypeError(f"{left} and {right} have no common integer type: convert one")
    return signed if signed.bits > unsigned.bits else INT64
