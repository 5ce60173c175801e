"""`save` and `load` with torch's signatures, over the zip archive that both libraries read and write.

Loading goes through an allow-list whatever the caller says: `weights_only=False` is accepted because much code passes it, but a file
whose globals are not on the list is refused all the same. `add_safe_globals` is how a program says which classes it trusts.
"""

from __future__ import annotations

import io
import os
import pickle
import reprlib
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

from eager import dtype as dtypes
from eager.device import device
from eager.serialization.archive import Reader, Writer
from eager.serialization.legacy import Legacy, Outline, recognize
from eager.serialization.pickler import STORAGES, Pickler, Span
from eager.serialization.unpickler import PLAIN, Unpickler
from eager.shape import Size
from eager.storage import Storage
from eager.tensor import Tensor

MapLocation = Any
_trusted: dict[tuple[str, str], Any] = {}


def save(
    obj: object,
    f: str | os.PathLike | IO[bytes],
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object with its tensors to a `.pt` archive that `load` and torch.load read.

    Raises RuntimeError for a fake tensor, `pickle.PicklingError` for an object that cannot be pickled, and ValueError for
    options that flambeau does not have.
    """
    if pickle_module is not None or pickle_protocol != 2 or not _use_new_zipfile_serialization:
        raise ValueError("flambeau saves with its own pickler, protocol 2, in a zip archive; it has no other")
    spans: dict[tuple[int, str], Span] = {}
    copies: dict[int, np.ndarray] = {}
    Pickler(io.BytesIO(), spans, copies).dump(obj)
    text = io.BytesIO()
    Pickler(text, spans, copies).dump(obj)
    with Writer(f) as archive:
        archive.write("data.pkl", text.getvalue())
        archive.write("byteorder", b"little")
        for span in spans.values():
            archive.write(f"data/{span.key}", span.data().data)
        archive.write("version", b"3\n")


def load(
    f: str | os.PathLike | IO[bytes],
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """The object in a `.pt` archive, written by `save` or by torch.save, before PyTorch 1.6 too.

    `map_location` is a device, a dict of locations or a function of (storage, location), as in torch; `mmap` maps the file
    copy-on-write. Raises `pickle.UnpicklingError` for globals that are not allowed, RuntimeError for a damaged archive or a
    location this machine does not have, and ValueError for a `pickle_module`.
    """
    if pickle_module is not None:
        raise ValueError("flambeau loads with its own unpickler only: pickle_module must be None")
    if recognize(f):
        if mmap:
            raise RuntimeError("mmap needs a file in the zip format that torch.save has written since PyTorch 1.6")
        old = Legacy(f, lambda text, start, archive: _unpickle(text, _Loader(archive, "cpu"), start))
        return _unpickle(old.text, _Loader(old, map_location), old.start)[0]
    with Reader(f, bool(mmap)) as archive:
        return _unpickle(archive.read("data.pkl").tobytes(), _Loader(archive, map_location))[0]


def _unpickle(text: bytes, found: _Loader, start: int = 0) -> tuple[Any, int]:
    """The object of the pickle at `start`, and where the pickle ends."""
    trusted = {value for value in _trusted.values() if isinstance(value, type)}
    machine = Unpickler(text, found.globals(), trusted, found.storage, start)
    return machine.load(), machine.at


def add_safe_globals(safe_globals: Iterable[Any]) -> None:
    """Trust classes and functions in files: each an object, or a tuple (object, "module.name in the file")."""
    for item in safe_globals:
        value, name = item if isinstance(item, tuple) else (item, f"{item.__module__}.{item.__qualname__}")
        module, _, last = name.rpartition(".")
        _trusted[module, last] = value


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` has added."""
    return list(dict.fromkeys(_trusted.values()))


def clear_safe_globals() -> None:
    """Forget what `add_safe_globals` has added."""
    _trusted.clear()


class safe_globals:
    """Trust classes and functions within a `with` block."""

    def __init__(self, safe_globals: Iterable[Any]):
        self.added = list(safe_globals)

    def __enter__(self) -> None:
        self.before = dict(_trusted)
        add_safe_globals(self.added)

    def __exit__(self, *error: object) -> None:
        _trusted.clear()
        _trusted.update(self.before)


class _Kind:
    """The type of a storage in a file: how its bytes are read."""

    def __init__(self, dtype: dtypes.dtype | None):
        self.dtype = dtype


class _Memory:
    """A loaded storage: the bytes, and the type they were saved with (none: untyped)."""

    def __init__(self, bytes: np.ndarray, dtype: dtypes.dtype | None, location: str, swapped: bool):
        self.bytes, self.dtype, self.location, self.swapped = bytes, dtype, location, swapped
        self.arrays: dict[str, np.ndarray] = {}
        self.shared = Storage(bytes)  # one version counter for all tensors over it

    def array(self, dtype: dtypes.dtype) -> np.ndarray:
        """The bytes as numbers; one array per type, so that tensors that shared memory do so again."""
        if dtype.name not in self.arrays:
            data = self.bytes
            if dtype.name == "bool" and data.size and data.max() > 1:
                raise RuntimeError("a bool in the file is neither 0 nor 1")
            if data.ctypes.data % dtype.numpy.alignment:
                data = data.copy()
            whole = data[: data.size - data.size % dtype.itemsize].view(dtype.numpy)
            if self.swapped and dtype.itemsize > 1:
                whole.byteswap(inplace=True)
            self.arrays[dtype.name] = whole
        return self.arrays[dtype.name]


class _Loader:
    """What the names in an archive mean: storages, tensors, parameters, types."""

    def __init__(self, archive: Reader | Legacy | Outline, map_location: MapLocation):
        self.archive, self.map_location = archive, map_location
        self.memories: dict[str, _Memory] = {}

    def globals(self) -> dict[tuple[str, str], Any]:
        known: dict[tuple[str, str], Any] = dict(PLAIN)
        for name, storage in STORAGES.items():
            known["torch", storage] = _Kind(dtypes.from_name(name))
        known["torch.storage", "UntypedStorage"] = known["torch", "UntypedStorage"] = _Kind(None)
        for dtype in dtypes.ALL:
            known["torch", dtype.name] = dtype
        known["torch", "Size"] = Size
        known["torch", "device"] = device
        known["torch._utils", "_rebuild_tensor"] = self.tensor
        known["torch._utils", "_rebuild_tensor_v2"] = self.tensor
        known["torch._utils", "_rebuild_tensor_v3"] = self.tensor_with_type
        known["torch._utils", "_rebuild_parameter"] = self.parameter
        return {**known, **_trusted}

    def storage(self, identity: Any) -> _Memory:
        if type(identity) is tuple and len(identity) == 6 and identity[5] is None:
            identity = identity[:5]  # as files from before PyTorch 1.6 have it
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise pickle.UnpicklingError(f"unknown persistent id {reprlib.repr(identity)}")
        _, kind, key, location, count = identity
        if not isinstance(kind, _Kind) or type(key) is not str or type(count) is not int:
            raise pickle.UnpicklingError("a storage needs a type, a key and a size")
        if key not in self.memories:
            size = count * (kind.dtype.itemsize if kind.dtype else 1)
            data = self.archive.storage(key, size)
            self.memories[key] = self.place(_Memory(data, kind.dtype, location, self.archive.swapped))
        return self.memories[key]

    def place(self, memory: _Memory) -> _Memory:
        """The storage where `map_location` wants it. Raises RuntimeError for a device that is not here."""
        target: Any = self.map_location
        if isinstance(target, dict):
            target = target.get(memory.location, memory.location)
        elif isinstance(target, Callable):  # type: ignore[arg-type]
            moved = target(memory, memory.location)
            if moved is not None:
                return moved
            target = memory.location
        wanted = device(memory.location if target is None else target)
        if wanted.type != "cpu":
            raise RuntimeError(
                f"Attempting to deserialize an object on {wanted}, but flambeau has only the CPU here. Use "
                "load with map_location=torch.device('cpu') to map your storages to the CPU."
            )
        return memory

    def tensor(
        self, memory: Any, offset: Any, size: Any, stride: Any, needs: Any = False, hooks: Any = None, extra: Any = None
    ) -> Tensor:
        if not isinstance(memory, _Memory) or memory.dtype is None:
            raise pickle.UnpicklingError("a tensor needs a typed storage")
        return _view(memory.array(memory.dtype), memory.shared, offset, size, stride, needs)

    def tensor_with_type(
        self, memory: Any, offset: Any, size: Any, stride: Any, needs: Any, hooks: Any, dtype: Any, extra: Any = None
    ) -> Tensor:
        if not isinstance(memory, _Memory) or not isinstance(dtype, dtypes.dtype):
            raise pickle.UnpicklingError("a tensor needs a storage and a type")
        return _view(memory.array(dtype), memory.shared, offset, size, stride, needs)

    def parameter(self, data: Any, needs: Any, hooks: Any = None) -> Tensor:
        from eager.nn.parameter import Parameter

        if not isinstance(data, Tensor):
            raise pickle.UnpicklingError("a parameter needs a tensor")
        return Parameter(data, bool(needs))


def _view(flat: np.ndarray, storage: Storage, offset: Any, size: Any, stride: Any, needs: Any) -> Tensor:
    """The tensor over `flat`, after checking that it stays inside."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in numbers):
        shown = ", ".join(map(reprlib.repr, (offset, size, stride)))
        raise pickle.UnpicklingError(f"offset, size and stride {shown} are no tensor")
    empty = 0 in size
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if not empty and last >= len(flat):
        raise RuntimeError(
            f"a tensor of size {tuple(size)} and stride {tuple(stride)} at offset {offset} reaches past its storage "
            f"of {len(flat)} elements"
        )
    if empty:
        array = np.empty(size, flat.dtype)
    else:
        strides = tuple(step * flat.itemsize for step in stride)
        array = np.ndarray(tuple(size), flat.dtype, flat, offset * flat.itemsize, strides)
    tensor = Tensor._wrap(array)
    tensor._storage = storage
    if needs:
        tensor.requires_grad_(True)
    return tensor
