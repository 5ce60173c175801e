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

    __slots__ = ("shape", "dtype", "device", "strides")

    def __init__(self, shape: Any, dtype: dtype, device: device = CPU, strides: Any = None):
        self.shape = tuple(shape)
        self.dtype, self.device, self.strides = dtype, device, strides

    @staticmethod
    def of(tensor: Any) -> Spec:
        """The description of a tensor; a Spec is its own."""
        if isinstance(tensor, Spec):
            return tensor
        return tensor._spec()

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
