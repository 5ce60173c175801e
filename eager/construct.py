"""Making tensors from Python data and NumPy arrays, moving them between types, and PyTorch's legacy
constructors.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eager import device as devices
from eager import dtype as dtypes
from eager.registry import ops
from eager.tensor import Tensor

_WORDS = {
    dtypes.float32: "Float",
    dtypes.float64: "Double",
    dtypes.float16: "Half",
    dtypes.bfloat16: "BFloat16",
    dtypes.int64: "Long",
    dtypes.int32: "Int",
    dtypes.int16: "Short",
    dtypes.int8: "Char",
    dtypes.uint8: "Byte",
    dtypes.bool_: "Bool",
    dtypes.complex64: "ComplexFloat",
    dtypes.complex128: "ComplexDouble",
    dtypes.uint16: "UInt16",
    dtypes.uint32: "UInt32",
    dtypes.uint64: "UInt64",
}
LEGACY_NAMES = {found: f"torch.{word}Tensor" for found, word in _WORDS.items()}


class LegacyType(type):
    """`FloatTensor` and its like: constructors that are also types for `isinstance`."""

    tensor_dtype: dtypes.dtype

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.tensor_dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        return legacy(*args, dtype=cls.tensor_dtype, **kwargs)


LEGACY_TYPES = {
    f"{word}Tensor": LegacyType(
        f"{word}Tensor", (), {"tensor_dtype": found, "__module__": "torch", "dtype": found}
    )
    for found, word in _WORDS.items()
}


def legacy_dtype(value: Any) -> dtypes.dtype:
    """The dtype meant by a dtype, a legacy type or its name."""
    if isinstance(value, dtypes.dtype):
        return value
    found = getattr(value, "tensor_dtype", None)
    if found is not None:
        return found
    for known, name in LEGACY_NAMES.items():
        if value == name:
            return known
    raise ValueError(f"invalid type: {value!r}")


def legacy(*args: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """`Tensor(2, 3)`: uninitialized of that shape; `Tensor(data)`: the data in the default float
    type.
    """
    found = dtype or dtypes.get_default_dtype()
    if not args:
        return Tensor._wrap(np.empty(0, found.numpy))
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].detach() if args[0].dtype is found else args[0].detach().to(found)
    if all(isinstance(a, (int, np.integer)) for a in args):
        return Tensor._wrap(np.empty(args, found.numpy))
    if len(args) == 1 and type(args[0]).__name__ == "Size":
        return Tensor._wrap(np.empty(args[0], found.numpy))
    if len(args) == 1:
        return tensor(args[0], dtype=found)
    raise TypeError(f"Tensor(): expected sizes or one sequence of data, got {len(args)} arguments")


def _array_of(data: Any) -> np.ndarray:
    if isinstance(data, (list, tuple)):
        data = [_array_of(d) if isinstance(d, (list, tuple, Tensor)) else d for d in data]
        if data and any(isinstance(d, np.ndarray) for d in data):
            shapes = {np.shape(d) for d in data}
            if len(shapes) > 1:
                raise ValueError(f"expected sequences of equal length, got shapes {sorted(shapes)}")
            return np.stack([np.asarray(d) for d in data])
    elif isinstance(data, Tensor):
        return data._array
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ValueError(f"expected sequences of equal length: {error}") from None


def infer_dtype(data: Any, array: np.ndarray) -> dtypes.dtype:
    """PyTorch's choice: Python floats take the default type, ints int64; arrays and tensors keep
    theirs.
    """
    if isinstance(data, (np.ndarray, np.generic, Tensor)):
        return dtypes.from_numpy(array.dtype)
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    if (
        isinstance(leaf, (np.ndarray, np.generic, Tensor))
        and array.dtype.kind == np.asarray(_array_of(leaf)).dtype.kind
    ):
        return dtypes.from_numpy(array.dtype)
    if array.dtype.kind == "f" or array.size == 0:
        return dtypes.get_default_dtype()
    if array.dtype.kind == "c":
        return dtypes.get_default_dtype().to_complex()
    return dtypes.bool_ if array.dtype.kind == "b" else dtypes.int64


def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new leaf tensor with a copy of `data` (numbers, nested sequences, arrays, tensors).

    Raises TypeError for data that is not numeric, ValueError for ragged sequences.
    """
    devices.check(device)
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use"
            " sourceTensor.detach().clone() rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
    array = _array_of(data)
    if array.dtype == object or array.dtype.kind in "USV" and array.dtype != dtypes.bfloat16.numpy:
        if data is None or type(data).__module__ != "builtins":
            raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
        raise TypeError(
            f"tensor(): could not convert data of type {type(data).__name__} to numbers"
        )
    if type(dtype) is type:
        dtype = dtypes.of_type(dtype)
    found = dtype or infer_dtype(data, array)
    if (
        found.category == dtypes.INTEGER
        and array.dtype.kind in "iu"
        and array.size
        and found is not dtypes.uint64
    ):
        low, high = np.iinfo(found.numpy).min, np.iinfo(found.numpy).max
        if not isinstance(data, (np.ndarray, Tensor)) and (array.min() < low or array.max() > high):
            raise RuntimeError(f"value cannot be converted to type {found.name} without overflow")
    result = Tensor._wrap(np.array(array, dtype=found.numpy, order="C"))
    return result.requires_grad_() if requires_grad else result


def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """The data as a tensor, sharing memory where no conversion is needed."""
    if isinstance(data, Tensor):
        return data if dtype is None or dtype is data.dtype else data.to(dtype)
    if isinstance(data, np.ndarray):
        shared = from_numpy(data)
        return shared if dtype is None or dtype is shared.dtype else shared.to(dtype)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the array's memory. Raises TypeError for other objects and for types that
    tensors do not have.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtypes.from_numpy(array.dtype)
    if not array.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order")
    return Tensor._over(array)


def from_dlpack(source: Any) -> Tensor:
    """A tensor over the memory of an object with `__dlpack__` on the CPU."""
    return source if isinstance(source, Tensor) else Tensor._over(np.from_dlpack(source))


def frombuffer(
    buffer: Any,
    *,
    dtype: dtypes.dtype,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    result = Tensor._over(np.frombuffer(buffer, dtype.numpy, count, offset))
    return result.requires_grad_() if requires_grad else result


def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """`to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`: the tensor itself if nothing
    changes.
    """
    for value in args:
        if isinstance(value, Tensor):
            dtype = value.dtype
        elif isinstance(value, (dtypes.dtype, type)):
            dtype = value
        elif isinstance(value, (str, devices.device)):
            device = value
        elif value is not None and not isinstance(value, (bool, int)):
            raise TypeError(
                f"to() received an invalid argument {value!r}: expected a dtype, a device or a"
                " tensor"
            )
    if type(dtype) is type:
        dtype = dtypes.of_type(dtype)
    if device is not None and devices.device(device).type == "meta":
        from eager.fake import FakeTensor

        return FakeTensor(self.shape, self.stride(), dtype or self.dtype, devices.META)
    devices.check(device)
    result = self
    if dtype is not None and dtype is not self.dtype:
        result = ops.convert(self, dtype)
    if memory_format is not None and not result.is_contiguous(memory_format):
        return ops.clone(result, memory_format=memory_format)
    return ops.clone(result) if copy and result is self else result


def _method(name: str, wanted: dtypes.dtype) -> None:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, wanted, memory_format=memory_format)

    method.__name__, method.__qualname__, method.__doc__ = (
        name,
        f"Tensor.{name}",
        f"The tensor as {wanted}.",
    )
    setattr(Tensor, name, method)


for _name, _dtype in dict(
    float=dtypes.float32,
    double=dtypes.float64,
    half=dtypes.float16,
    bfloat16=dtypes.bfloat16,
    long=dtypes.int64,
    int=dtypes.int32,
    short=dtypes.int16,
    char=dtypes.int8,
    byte=dtypes.uint8,
    bool=dtypes.bool_,
    cfloat=dtypes.complex64,
    cdouble=dtypes.complex128,
).items():
    _method(_name, _dtype)


def _cuda(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    devices.check("cuda")
    return self


def _resize(self: Tensor, *shape: Any, memory_format: Any = None) -> Tensor:
    """Change the shape in place, keeping the elements that fit."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if sizes != tuple(self.shape):
        old = self._array.reshape(-1)
        new = np.empty(sizes, self._array.dtype)
        kept = min(old.size, new.size)
        new.reshape(-1)[:kept] = old[:kept]
        self._see(new)
        self._storage, self._base, self._view = None, None, None
    return self


def _resize_as(self: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return _resize(self, tuple(other.shape))


def _set(self: Tensor, source: Tensor) -> Tensor:
    self.data = source
    return self


Tensor.to = to  # type: ignore[attr-defined]
Tensor.type_as = lambda self, other: to(self, other.dtype)  # type: ignore[attr-defined]
Tensor.cpu = lambda self, memory_format=None: self  # type: ignore[attr-defined]
Tensor.cuda = _cuda  # type: ignore[attr-defined]
Tensor.resize_ = _resize  # type: ignore[attr-defined]
Tensor.resize_as_ = _resize_as  # type: ignore[attr-defined]
Tensor.set_ = _set  # type: ignore[attr-defined]
Tensor.pin_memory = lambda self, device=None: self  # type: ignore[attr-defined]
Tensor.share_memory_ = lambda self: self  # type: ignore[attr-defined]
