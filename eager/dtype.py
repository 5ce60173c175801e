"""Data types: PyTorch's names over NumPy's types, the promotion lattice, and the default float type.

A `dtype` is a singleton; `dtype.numpy` is the NumPy type that stores it (bfloat16 comes from ml_dtypes). `promote` is PyTorch's
`promote_types`, `result_type` its rule for mixtures of tensors, zero-dimensional tensors and Python numbers.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

BOOL, INTEGER, FLOATING, COMPLEX = range(4)


class dtype:
    """A data type of tensors; compare with `is` or `==`, both mean identity."""

    __slots__ = ("name", "numpy", "category", "itemsize", "aliases")

    def __init__(self, name: str, numpy: Any, category: int, *aliases: str):
        self.name, self.numpy, self.category = name, np.dtype(numpy), category
        self.itemsize = self.numpy.itemsize
        self.aliases = aliases
        _BY_NUMBER[self.numpy.num] = self
        _BY_NAME[name] = self

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (from_name, (self.name,))

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: dict) -> dtype:
        return self

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOATING

    @property
    def is_complex(self) -> bool:
        return self.category == COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.category >= FLOATING or (self.category == INTEGER and self.numpy.kind == "i")

    def to_real(self) -> dtype:
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> dtype:
        return self if self.is_complex else complex128 if self is float64 else complex64


_BY_NUMBER: dict[int, dtype] = {}
_BY_NAME: dict[str, dtype] = {}

bool_ = dtype("bool", np.bool_, BOOL)
uint8 = dtype("uint8", np.uint8, INTEGER)
int8 = dtype("int8", np.int8, INTEGER)
int16 = dtype("int16", np.int16, INTEGER, "short")
int32 = dtype("int32", np.int32, INTEGER, "int")
int64 = dtype("int64", np.int64, INTEGER, "long")
float16 = dtype("float16", np.float16, FLOATING, "half")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOATING)
float32 = dtype("float32", np.float32, FLOATING, "float")
float64 = dtype("float64", np.float64, FLOATING, "double")
complex64 = dtype("complex64", np.complex64, COMPLEX, "cfloat")
complex128 = dtype("complex128", np.complex128, COMPLEX, "cdouble")
_BY_NUMBER[np.dtype(np.longlong).num] = int64
uint16 = dtype("uint16", np.uint16, INTEGER)
uint32 = dtype("uint32", np.uint32, INTEGER)
uint64 = dtype("uint64", np.uint64, INTEGER)

ALL = tuple(_BY_NAME.values())
_OF_TYPE = {bool: _BY_NAME["bool"], int: int64, float: float64, complex: complex128}
# Kept and converted, but not computed with: they promote with nothing, as in PyTorch.
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOATING)
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, FLOATING)
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, FLOATING)
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, FLOATING)
float8_e8m0fnu = dtype("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, FLOATING)
_DEFAULT = [float32]


def from_numpy(numpy_dtype: Any) -> dtype:
    """The dtype that stores a NumPy type. Raises TypeError for types that tensors do not have."""
    found = _BY_NUMBER.get(np.dtype(numpy_dtype).num)
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(numpy_dtype)}. The only supported types are: "
            + ", ".join(d.name for d in ALL)
        )
    return found


def of_type(kind: type) -> dtype:
    """The dtype that a Python type stands for: `dtype=float` is `float64`. Raises TypeError for others."""
    found = _OF_TYPE.get(kind)
    if found is None:
        raise TypeError(f"{kind!r} is no data type: give a torch dtype, or bool, int, float or complex")
    return found


def from_name(name: str) -> dtype:
    return _BY_NAME[name]


def get_default_dtype() -> dtype:
    return _DEFAULT[0]


def set_default_dtype(d: dtype) -> None:
    """Set the floating type of new tensors (float32 at start). Raises TypeError for other types."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _DEFAULT[0] = d


def of_scalar(value: Any) -> dtype:
    """The dtype that a Python number becomes."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, complex):
        return _DEFAULT[0].to_complex()
    return _DEFAULT[0]


def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    if a.category != b.category:
        low, high = (a, b) if a.category < b.category else (b, a)
        if high is complex64 and low is float64:
            return complex128
        return high
    if {a, b} == {float16, bfloat16}:
        return float32
    if bfloat16 in (a, b):
        return a if b is bfloat16 else b
    found = np.promote_types(a.numpy, b.numpy)
    # NumPy leaves the integers for (uint64, signed); PyTorch's lattice has no wider type than int64.
    return int64 if found.kind == "f" and a.category == INTEGER else _BY_NUMBER[found.num]


_PROMOTED = {(a, b): _promote(a, b) for a in ALL for b in ALL}


def promote(a: dtype, b: dtype) -> dtype:
    """PyTorch's `promote_types`."""
    for place, given in (("type1", a), ("type2", b)):
        if not isinstance(given, dtype):
            raise TypeError(f"promote_types(): argument {place!r} must be torch.dtype, not {type(given).__name__}")
    return _PROMOTED[a, b]


def result_type(*operands: Any) -> dtype:
    """PyTorch's `result_type` for tensors and Python numbers.

    Tensors with dimensions outrank zero-dimensional ones, which outrank numbers, unless the lower rank has a higher category
    (bool < integer < floating < complex).
    """
    ranks: list[dtype | None] = [None, None, None]
    for operand in operands:
        if operand is None:
            continue
        found = getattr(operand, "dtype", None)
        if isinstance(found, dtype):
            rank = 0 if operand.ndim else 1
        else:
            rank, found = 2, of_scalar(operand)
        now = ranks[rank]
        ranks[rank] = found if now is None else _PROMOTED[now, found]
    result: dtype | None = None
    for found in ranks:
        if found is None:
            continue
        if result is None:
            result = found
        elif found.category > result.category:
            # a lower rank lends its category; to floats a complex number lends no precision
            result = result.to_complex() if result.category == FLOATING else _PROMOTED[result, found]
    if result is None:
        raise ValueError("result_type needs at least one tensor or number")
    return result


_LARGEST: dict[dtype, float] = {}


def fitting(value: Any, found: dtype) -> Any:
    """A Python number as a type stores it: an integer for integer types. RuntimeError for one that it cannot hold; negative ones wrap
    in types without sign, as in PyTorch."""
    if found.category == INTEGER:
        low, high = (int(limit) for limit in (np.iinfo(found.numpy).min, np.iinfo(found.numpy).max))
        number = int(value) if abs(value) < math.inf else None
        if number is None or not (low or -high) <= number <= high:
            raise RuntimeError(f"value cannot be converted to type {found.name} without overflow: {value}")
        return number if number >= low else number + high + 1
    if found.category == FLOATING and type(value) in (int, float):
        if found not in _LARGEST:
            _LARGEST[found] = float(ml_dtypes.finfo(found.numpy).max)
        if _LARGEST[found] < abs(value) < math.inf:
            raise RuntimeError(f"value cannot be converted to type {found.name} without overflow: {value}")
    return value


class finfo:
    """Limits of a floating type (`torch.finfo`). Raises TypeError for other types."""

    def __init__(self, type: dtype | None = None):
        found = type or get_default_dtype()
        if found.category < FLOATING:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{found}'")
        limits = ml_dtypes.finfo(found.to_real().numpy)
        self.dtype = found.name
        self.bits = found.to_real().itemsize * 8
        self.min, self.max, self.eps = float(limits.min), float(limits.max), float(limits.eps)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(limits.resolution)

    def __repr__(self) -> str:
        return f"finfo(resolution={self.resolution}, min={self.min}, max={self.max}, eps={self.eps}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer type (`torch.iinfo`). Raises TypeError for other types."""

    def __init__(self, type: dtype):
        if type.category != INTEGER:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'")
        limits = np.iinfo(type.numpy)
        self.dtype, self.bits = type.name, type.itemsize * 8
        self.min, self.max = int(limits.min), int(limits.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
