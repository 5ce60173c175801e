"""torch.utils.dlpack: memory shared with other libraries."""

from __future__ import annotations

from typing import Any

from eager.construct import from_dlpack
from eager.tensor import Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule that another library makes a tensor of the same memory from."""
    return tensor.__dlpack__()
