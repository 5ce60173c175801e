"""Padding layers: by constants, reflection, repetition and wrapping."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from eager.registry import ops


class _Pad(Module):
    __constants__ = ["padding"]
    rank: int
    mode: str
    value: Any = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        many = isinstance(padding, (tuple, list))
        self.padding = tuple(padding) if many else (padding,) * (2 * self.rank)

    def forward(self, input: Any) -> Any:
        return ops.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Constants around lines."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """Constants around images."""

    rank = 2


class ConstantPad3d(_ConstantPad):
    """Constants around volumes."""

    rank = 3


class _ZeroPad(_Pad):
    mode, value = "constant", 0.0


class ZeroPad1d(_ZeroPad):
    """Zeros around lines."""

    rank = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around images."""

    rank = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around volumes."""

    rank = 3


class ReflectionPad1d(_Pad):
    """Lines reflected at their ends."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images reflected at their edges."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes reflected at their faces."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Lines with their ends repeated."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Images with their edges repeated."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes with their faces repeated."""

    rank, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Lines wrapped around."""

    rank, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images wrapped around."""

    rank, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes wrapped around."""

    rank, mode = 3, "circular"
