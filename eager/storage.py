"""Storage: what a tensor and its views share, i.e. an identity and a version counter over one NumPy
buffer.

NumPy can write to memory that it was given without a version changing. A storage therefore counts what
it lends to NumPy and knows whether any of it is still held; `stamp` says whether values may have changed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


def owner(array: np.ndarray) -> np.ndarray:
    """The array at the end of the chain of `base`s: the one that holds the memory."""
    while True:
        base = array.base
        if type(base) is tuple:  # a loan and its description
            base = base[0]
        if not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)  # as_strided puts an object of its own in between
        if not isinstance(base, np.ndarray):
            return array
        array = base


class _Held:
    """Alive while NumPy holds any of a storage's memory."""

    __slots__ = ("__weakref__",)


class _Loan:
    """What an array given to NumPy stands on; all views of it keep it alive."""

    __slots__ = ("base", "held", "__array_struct__")

    def __init__(self, base: np.ndarray, held: _Held):
        self.base, self.held = base, held
        self.__array_struct__ = base.__array_struct__


def _always() -> bool:
    return True


class Storage:
    """Memory shared by tensors. `version` counts in-place writes through any of them. `derived` is
    for what was computed from the memory and dies with it; where a storage that has it may have
    changed, or a tensor sees other memory, `Storage.changes` is another object from then on.
    """

    changes: ClassVar[object] = object()
    __slots__ = ("_array", "version", "_bytes", "_loans", "_held", "derived", "__weakref__")

    def __init__(self, array: np.ndarray | None, nbytes: int | None = None):
        self._array = array
        self.version = 0
        self._bytes = nbytes
        self._loans = 0
        self._held: Callable[[], Any] | None = None
        self.derived: dict[Any, Any] | None = None

    def lend(self, array: np.ndarray) -> np.ndarray:
        """An array over this memory, for NumPy."""
        self._loans += 1
        if self.derived is not None:
            Storage.changes = object()
        held = None if self._held is None else self._held()
        if held is None:
            held = _Held()
            self._held = weakref.ref(held)
        elif held is True:
            return array
        lent = np.asarray(_Loan(array, held))
        return lent if lent.dtype == array.dtype else lent.view(array.dtype)

    def borrowed(self) -> Storage:
        """This storage, as one over memory that is NumPy's own."""
        self._held = _always
        return self

    def bump(self) -> None:
        """Count a write."""
        self.version += 1
        if self.derived is not None:
            Storage.changes = object()

    def stamp(self) -> int | None:
        """Equal stamps at two moments: no value has changed between them. None while NumPy could
        write unseen.
        """
        if self._held is not None and self._held() is not None:
            return None
        return self.version + self._loans

    @property
    def buffer(self) -> np.ndarray | None:
        """The array that holds the memory; None for a fake tensor's storage."""
        return None if self._array is None else owner(self._array)

    def nbytes(self) -> int:
        buffer = self.buffer
        return self._bytes if buffer is None else buffer.nbytes  # type: ignore[return-value]

    def data_ptr(self) -> int:
        buffer = self.buffer
        if buffer is None:
            return 0
        return np.lib.array_utils.byte_bounds(buffer)[0] if buffer.size else 0

    def size(self) -> int:
        return self.nbytes()

    __len__ = size

    def __repr__(self) -> str:
        return f"Storage({self.nbytes()} bytes, version {self.version})"
