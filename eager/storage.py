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

    __slots__ = ("buffer", "version", "_bytes", "__weakref__")

    def __init__(self, buffer: np.ndarray | None, nbytes: int | None = None):
        self.buffer = buffer
        self.version = 0
        self._bytes = nbytes

    def nbytes(self) -> int:
        return self._bytes if self.buffer is None else self.buffer.nbytes  # type: ignore[return-value]

    def data_ptr(self) -> int:
        if self.buffer is None:
            return 0
        return np.lib.array_utils.byte_bounds(self.buffer)[0] if self.buffer.size else 0

    def size(self) -> int:
        return self.nbytes()

    __len__ = size

    def __repr__(self) -> str:
        return f"Storage({self.nbytes()} bytes, version {self.version})"
