"""Storage: what a tensor and its views share, i.e. an identity and a version counter over one NumPy
buffer.
"""

from __future__ import annotations

import numpy as np


def owner(array: np.ndarray) -> np.ndarray:
    """The array at the end of the chain of `base`s: the one that holds the memory."""
    while True:
        base = array.base
        if not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)  # as_strided puts an object of its own in between
        if not isinstance(base, np.ndarray):
            return array
        array = base


class Storage:
    """Memory shared by tensors. `version` counts in-place writes through any of them."""

    __slots__ = ("_array", "version", "_bytes", "__weakref__")

    def __init__(self, array: np.ndarray | None, nbytes: int | None = None):
        self._array = array
        self.version = 0
        self._bytes = nbytes

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
