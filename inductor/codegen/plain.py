"""Kernels as the Python that they are, for a debugger: the option `debug`, or FLAMBEAU_DEBUG=1.

`kernel(text, …)` gives a native function like `build.kernel`, but one that calls back into Python
and runs the source as it stands, line by line, on NumPy scalars. What the dialect adds to Python
(pointers, bit casts, loose sums) is here once more in plain words, and the library of vector
functions is taken as it is written, so that a debugger steps into all of it. Results agree to
rounding, for nothing is contracted; what takes a microsecond takes seconds. An exception, the
debugger's quit included, leaves through the call of the compiled program.
"""

from __future__ import annotations

import ctypes
import linecache
import types
from typing import Any

import numpy as np

from inductor import native

_INTEGERS = "int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
DTYPES = {name: np.dtype(name) for name in ("bool", *_INTEGERS, "float32", "float64")}
_raised: list[BaseException] = []


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
    return pointer[index]


def store(pointer: Pointer, index: Any, value: Any) -> None:
    pointer.at(index)[0] = _cast(pointer.dtype, value)


def _scratch(dtype: np.dtype, count: int) -> Pointer:
    array = np.empty(count, dtype)
    return Pointer(array.ctypes.data, dtype, array)


def _cast(dtype: np.dtype, value: Any) -> Any:
    """A conversion as C makes it: integers wrap around, also from floats."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and dtype.kind in "iu":
        array = array.astype(np.int64 if dtype.itemsize > 4 or dtype.kind == "u" else np.int32)
    return array.astype(dtype)[()]


def select(condition: Any, yes: Any, no: Any) -> Any:
    kind = np.result_type(yes, no)
    return _cast(kind, yes if condition else no)


def bits(value: Any) -> Any:
    value = np.asarray(value)
    return value.view(f"i{value.dtype.itemsize}")[()]


def from_bits(value: Any) -> Any:
    value = np.asarray(value)
    return value.view(f"f{value.dtype.itemsize}")[()]


def polynomial(x: Any, coefficients: Any) -> Any:
    kind, result = np.asarray(x).dtype.type, None
    for coefficient in reversed(coefficients):
        result = kind(coefficient) if result is None else result * x + kind(coefficient)
    return result


def add_up(total: Any, value: Any) -> Any:
    return total + type(total)(value)


def multiply_up(total: Any, value: Any) -> Any:
    return total * type(total)(value)


def multiply_high(left: Any, right: Any) -> Any:
    return np.uint32(int(left) * int(right) >> 32)


def from_float16(value: Any) -> Any:
    return np.float32(np.asarray(value, np.uint16).view(np.float16)[()])


def to_float16(value: Any) -> Any:
    return np.asarray(value, np.float32).astype(np.float16).view(np.uint16)[()]


def from_bfloat16(value: Any) -> Any:
    return (np.asarray(value, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)[()]


def to_bfloat16(value: Any) -> Any:
    import ml_dtypes

    return np.asarray(value, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)[()]


def _words() -> dict[str, Any]:
    """The dialect: everything of `intrinsics.NAMES`, and the types."""
    words: dict[str, Any] = {
        "load": load, "load_again": load, "store": store, "select": select, "bits": bits,
        "from_bits": from_bits, "polynomial": polynomial, "add_up": add_up, "add_in_order": add_up,
        "multiply_up": multiply_up, "multiply_high": multiply_high, "maximum": np.maximum,
        "minimum": np.minimum, "square_root": np.sqrt, "absolute": np.abs, "round_down": np.floor,
        "round_up": np.ceil, "round_to_zero": np.trunc, "round_even": np.rint,
        "with_sign": np.copysign, "from_float16": from_float16, "to_float16": to_float16,
        "from_bfloat16": from_bfloat16, "to_bfloat16": to_bfloat16,
    }
    for name, dtype in DTYPES.items():
        words[f"pointer_{name}"] = lambda address, dtype=dtype: Pointer(address, dtype)
        words[f"scratch_{name}"] = lambda count, dtype=dtype: _scratch(dtype, count)
        words[f"to_{name}"] = lambda value, dtype=dtype: _cast(dtype, value)
        if name != "bool":
            words[name] = words[f"to_{name}"]
    return words


WORDS = _words()


class _Unjitted:
    """Numba's functions as the Python that they were made of, calling one another."""

    def __init__(self) -> None:
        self.functions: dict[int, Any] = {}
        self.spaces: dict[int, dict[str, Any]] = {}

    def of(self, name: str, value: Any) -> Any:
        """What a name of the compiled library is in plain Python."""
        source = getattr(value, "py_func", None)
        if source is None:
            return WORDS.get(name, value)
        if id(source) not in self.functions:
            cells = [
                types.CellType(self.of(free, cell.cell_contents))
                for free, cell in zip(source.__code__.co_freevars, source.__closure__ or ())
            ]
            space = self._space(source.__globals__)
            self.functions[id(source)] = types.FunctionType(
                source.__code__, space, source.__name__, source.__defaults__, tuple(cells)
            )
        return self.functions[id(source)]

    def _space(self, names: dict[str, Any]) -> dict[str, Any]:
        if id(names) not in self.spaces:
            self.spaces[id(names)] = space = dict(names)
            for name, value in names.items():
                if name in WORDS or hasattr(value, "py_func"):
                    space[name] = self.of(name, value)
        return self.spaces[id(names)]


_unjitted = _Unjitted()


def kernel(text: str, names: dict[str, Any], file: str) -> native.NativeFunction:
    """A native function that runs the source of a kernel in this interpreter. `names` is what it may
    name when it is compiled, `file` what a debugger knows it by.
    """
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    space = {name: _unjitted.of(name, value) for name, value in names.items()} | WORDS
    exec(compile(text, file, "exec"), space)
    function = space["kernel"]

    def guarded(arguments: int, start: int, stop: int) -> int:
        words = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_int64))
        try:
            with np.errstate(all="ignore"):
                return int(function(words, start, stop))
        except BaseException as error:  # it cannot cross the native program
            _raised.append(error)
            return native.RAISED

    callback = native.KERNEL(guarded)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    return native.NativeFunction(address, b"", "kernel", callback)


def reraise() -> None:
    """Raise what a kernel raised, without the frames in between."""
    raise _raised.pop()
