"""Spec: what is known of a tensor without its values: shape, dtype, device and, where it matters,
strides (in elements).
"""

from __future__ import annotations

from typing import Any

from eager.device import CPU, device
from eager.dtype import dtype
from eager.shape import contiguous_strides


class Spec:
    """Shape, dtype, device and strides (None: contiguous). Shape rules give it; derivatives get it
    for what is not saved.
    """

    # `_strides` counts units of `_unit` bytes where that is set: NumPy's, converted when asked for
    __slots__ = ("shape", "dtype", "device", "_strides", "_unit")

    def __init__(self, shape: Any, dtype: dtype, device: device = CPU, strides: Any = None):
        self.shape = tuple(shape)
        self.dtype, self.device, self._strides = dtype, device, strides
        self._unit = 1

    @staticmethod
    def of(tensor: Any) -> Spec:
        """The description of a tensor; a Spec is its own."""
        if isinstance(tensor, Spec):
            return tensor
        return tensor._spec()

    @property
    def strides(self) -> Any:
        found = self._strides
        if self._unit != 1 and found is not None:
            found = self._strides = tuple([s // self._unit for s in found])
            self._unit = 1
        return found

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        count = 1
        for n in self.shape:
            count = count * n
        return count

    def stride(self) -> tuple:
        return contiguous_strides(self.shape) if self.strides is None else self.strides

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype})"
