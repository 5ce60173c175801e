"""What kernel text says beyond plain Python, in plain Python: pointers, bit casts, conversions, sums
that may be reordered.

A kernel is a Python function over these words and over the library of vector functions, which is
written in them too. `translate` makes machine code of it, each word by its entry in `intrinsics`;
here is what the words mean, on NumPy's scalars, for a debugger and as the reference. Results agree
to rounding, for nothing is contracted here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from inductor.codegen.types import SCALARS

DTYPES = {name: np.dtype(name) for name in SCALARS}


class Pointer:
    """Typed memory at an address; `owner` is what keeps it."""

    def __init__(self, address: int, dtype: np.dtype, owner: Any = None) -> None:
        self.address, self.dtype, self.owner = int(address), dtype, owner

    def at(self, index: Any) -> np.ndarray:
        place = self.address + int(index) * self.dtype.itemsize
        memory = (ctypes.c_char * self.dtype.itemsize).from_address(place)
        return np.ndarray(1, self.dtype, memory)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        return self.at(index)[0]

    def __repr__(self) -> str:
        return f"<pointer to {self.dtype} at {self.address:#x}>"


def load(pointer: Pointer, index: Any) -> Any:
    """The element at `index` of an input."""
    return pointer[index]


def load_again(pointer: Pointer, index: Any) -> Any:
    """The element at `index` of a buffer that this kernel writes too."""
    return pointer[index]


def store(pointer: Pointer, index: Any, value: Any) -> None:
    """Write `value` to `index` of an output."""
    pointer.at(index)[0] = cast(pointer.dtype, value)


def cast(dtype: np.dtype, value: Any) -> Any:
    """A conversion as C makes it: integers wrap around, also from floats."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and dtype.kind in "iu":
        array = array.astype(np.int64 if dtype.itemsize > 4 or dtype.kind == "u" else np.int32)
    return array.astype(dtype)[()]


def _conversion(name: str) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        return cast(DTYPES[name], value)

    convert.__name__ = name
    return convert


def _pointer(name: str) -> Callable[[int], Pointer]:
    def pointer(address: int) -> Pointer:
        return Pointer(address, DTYPES[name])

    return pointer


def _scratch(name: str) -> Callable[[int], Pointer]:
    def scratch(count: int) -> Pointer:
        array = np.empty(count, DTYPES[name])
        return Pointer(array.ctypes.data, DTYPES[name], array)

    return scratch


CONVERSIONS = {name: _conversion(name) for name in DTYPES}
int32, int64, uint32, uint64, float32, float64 = (
    CONVERSIONS[name] for name in "int32 int64 uint32 uint64 float32 float64".split()
)


def select(condition: Any, yes: Any, no: Any) -> Any:
    """`yes if condition else no`, both computed: never a branch."""
    return cast(np.result_type(yes, no), yes if condition else no)


def bits(value: Any) -> Any:
    """The integer with the bits of a float."""
    value = np.asarray(value)
    return value.view(f"i{value.dtype.itemsize}")[()]


def from_bits(value: Any) -> Any:
    """The float with the bits of an integer."""
    value = np.asarray(value)
    return value.view(f"f{value.dtype.itemsize}")[()]


def polynomial(x: Any, coefficients: Any) -> Any:
    """Horner's scheme, coefficients from the constant term upwards."""
    kind, result = np.asarray(x).dtype.type, None
    for coefficient in reversed(coefficients):
        result = kind(coefficient) if result is None else result * x + kind(coefficient)
    return result


def add_up(total: Any, value: Any) -> Any:
    """A term of a sum whose order does not matter."""
    return total + type(total)(value)


def multiply_up(total: Any, value: Any) -> Any:
    """A factor of a product whose order does not matter."""
    return total * type(total)(value)


def add_in_order(total: Any, value: Any) -> Any:
    """A term of a sum that is taken in this order."""
    return total + type(total)(value)


def multiply_high(left: Any, right: Any) -> Any:
    """The high 32 bits of the product of two uint32."""
    return np.uint32(int(left) * int(right) >> 32)


def from_float16(value: Any) -> Any:
    """float32 of the 16 bits of a half."""
    return np.float32(np.asarray(value, np.uint16).view(np.float16)[()])


def to_float16(value: Any) -> Any:
    """The 16 bits of the half nearest to a float32."""
    return np.asarray(value, np.float32).astype(np.float16).view(np.uint16)[()]


def from_bfloat16(value: Any) -> Any:
    """float32 of the 16 bits of a bfloat16."""
    return (np.asarray(value, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)[()]


def to_bfloat16(value: Any) -> Any:
    """The 16 bits of the bfloat16 nearest to a float32, ties to even, NaN kept."""
    import ml_dtypes

    return np.asarray(value, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)[()]


def maximum(left: Any, right: Any) -> Any:
    """The greater of two; NaN where either is NaN."""
    return np.maximum(left, right)


def minimum(left: Any, right: Any) -> Any:
    """The lesser of two; NaN where either is NaN."""
    return np.minimum(left, right)


def square_root(x: Any) -> Any:
    return np.sqrt(x)


def absolute(x: Any) -> Any:
    return np.abs(x)


def round_down(x: Any) -> Any:
    return np.floor(x)


def round_up(x: Any) -> Any:
    return np.ceil(x)


def round_to_zero(x: Any) -> Any:
    return np.trunc(x)


def round_even(x: Any) -> Any:
    """To the nearest integer, ties to the even one."""
    return np.rint(x)


def with_sign(size: Any, sign: Any) -> Any:
    """The size of one float with the sign of another."""
    return np.copysign(size, sign)


WORDS: dict[str, Callable] = {
    word.__name__: word
    for word in (
        load, load_again, store, select, bits, from_bits, polynomial, add_up, multiply_up,
        add_in_order, multiply_high, from_float16, to_float16, from_bfloat16, to_bfloat16, maximum,
        minimum, square_root, absolute, round_down, round_up, round_to_zero, round_even, with_sign,
    )
}
for _name, _convert in CONVERSIONS.items():
    WORDS[f"to_{_name}"] = _convert
    WORDS[f"pointer_{_name}"], WORDS[f"scratch_{_name}"] = _pointer(_name), _scratch(_name)
    if _name != "bool":
        WORDS[_name] = _convert
