"""Objects to the pickle inside a `.pt` archive: tensors become PyTorch's own rebuild calls, so PyTorch reads them too.

Tensors that share memory share one storage record, and only the span of the memory that they cover is written.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.device import device
from eager.storage import owner

# PyTorch's names of typed storages; other types go through UntypedStorage.
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}


@dataclass(frozen=True)
class Global:
    """A name in a module that need not be importable here: what PyTorch will look up."""

    module: str
    name: str

    def __call__(self, *args: Any) -> Any:  # pickle asks that what it reduces to is callable
        raise TypeError(f"{self.module}.{self.name} is a name in a file, not a function")


class Span:
    """The memory that the tensors of one storage cover: `[low, high)` as addresses, inside `base`."""

    def __init__(self, key: str, base: np.ndarray):
        self.key, self.base = key, base
        self.low, self.high = np.iinfo(np.int64).max, 0

    def cover(self, array: np.ndarray) -> None:
        low, high = np.lib.array_utils.byte_bounds(array)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def data(self) -> np.ndarray:
        if self.high <= self.low:
            return np.empty(0, np.uint8)
        start = np.lib.array_utils.byte_bounds(self.base)[0]
        flat = self.base.reshape(-1, order="A").view(np.uint8)
        return flat[self.low - start : self.high - start]


_Python: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one in Python: its save_global can be extended


class Pickler(_Python):
    """Writes one object. Run it twice over the same `spans`: the first run finds what the storages cover."""

    def __init__(self, file: Any, spans: dict[tuple[int, str], Span], copies: dict[int, np.ndarray]):
        super().__init__(file, protocol=2)
        self.spans, self.copies = spans, copies

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if not isinstance(obj, Global):
            return super().save_global(obj, name)
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Global):
            return obj.name
        if isinstance(obj, device):
            return self._name("torch", "device"), (obj.type,) + (() if obj.index is None else (obj.index,))
        if isinstance(obj, tuple) and type(obj).__name__ == "Size":
            return self._name("torch", "Size"), (tuple(int(size) for size in obj),)
        if hasattr(obj, "_array") and hasattr(obj, "requires_grad"):
            return self._tensor(obj)
        return NotImplemented

    _names: dict[tuple[str, str], Global] = {}

    def _name(self, module: str, name: str) -> Global:
        return self._names.setdefault((module, name), Global(module, name))

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, dtypes.dtype):  # a global, not a call: PyTorch allows nothing else
            obj = self._name("torch", obj.name)
        super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        return ("storage", self._name(*obj.kind), obj.key, "cpu", obj.count)

    def _tensor(self, tensor: Any) -> tuple:
        array = self._array(tensor)
        kind = tensor.dtype
        base = owner(array)
        span = self.spans.setdefault((id(base), kind.name), Span(str(len(self.spans)), base))
        span.cover(array)
        low = np.lib.array_utils.byte_bounds(array)[0] if array.size else span.low
        offset = max(low - span.low, 0) // kind.itemsize if span.high > span.low else 0
        strides = tuple(stride // kind.itemsize for stride in array.strides)
        known = kind.name in STORAGES
        storage = _Storage(
            ("torch", STORAGES[kind.name]) if known else ("torch.storage", "UntypedStorage"),
            span.key,
            max(span.high - span.low, 0) // (kind.itemsize if known else 1),
        )
        arguments: tuple = (storage, offset, array.shape, strides, False, OrderedDict())
        rebuild = "_rebuild_tensor_v2" if known else "_rebuild_tensor_v3"
        if not known:
            arguments += (kind,)
        is_parameter = getattr(type(tensor), "_is_parameter", type(tensor).__name__ == "Parameter")
        needs = bool(tensor.requires_grad)
        if not is_parameter:
            arguments = arguments[:4] + (needs,) + arguments[5:]
            return self._name("torch._utils", rebuild), arguments
        data = _Reduced(self._name("torch._utils", rebuild), arguments)
        return self._name("torch._utils", "_rebuild_parameter"), (data, needs, OrderedDict())

    def _array(self, tensor: Any) -> np.ndarray:
        """The tensor's memory, or a copy of it where PyTorch cannot express its strides."""
        if id(tensor) in self.copies:
            return self.copies[id(tensor)]
        array = tensor._array
        if array is None:
            raise RuntimeError("a fake tensor has no data to save")
        base, size = owner(array), array.itemsize
        plain = (
            all(stride >= 0 and stride % size == 0 for stride in array.strides)
            and (base.flags.c_contiguous or base.flags.f_contiguous)
            and array.__array_interface__["data"][0] % size == np.lib.array_utils.byte_bounds(base)[0] % size
        )
        if not plain:
            array = self.copies[id(tensor)] = np.array(array, order="C")
        return array


@dataclass
class _Storage:
    kind: tuple[str, str]
    key: str
    count: int


class _Reduced:
    """A call to be written in an argument's place."""

    def __init__(self, function: Global, arguments: tuple):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments
