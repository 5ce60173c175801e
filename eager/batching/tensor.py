"""A tensor that hides its first dimension, and the way between nested ones and the plain tensor below.

Programs under `vmap` see shape, strides and type without the hidden dimension; values they cannot ask for, since there is one for
each sample. `lower` gives the plain tensor with the dimensions of all given levels in front, the outermost first; `lift` hides them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eager import dispatch
from eager.fake import FakeTensor
from eager.registry import ops
from eager.tensor import Tensor


class Batched(FakeTensor, plain=False):
    """One sample's view of `value`, whose first dimension `level` hides."""

    def __init__(self, value: Tensor, level: Any):
        super().__init__(value.shape[1:], value.stride()[1:], value.dtype, value.device, 0, None, value.requires_grad)
        self.value, self.level = value, level

    @property
    def _array(self) -> Any:  # type: ignore[override]
        raise RuntimeError(
            "vmap: the values of a tensor were asked for, as by .item(), bool() or .numpy(); under vmap there is one for each sample. "
            "Use torch.where in place of a condition on values"
        )

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        self.value.requires_grad_(requires_grad)
        self._requires_grad = requires_grad
        return self

    def _shallow(self) -> Batched:
        return Batched(self.value.detach(), self.level)

    def __repr__(self, **given: Any) -> str:  # type: ignore[override]
        return f"Batched(level={self.level.depth}, size={self.level.size}, {tuple(self.shape)}, {self.dtype})"


def holds(value: Any, level: Any) -> bool:
    """Whether a tensor hides a dimension of this level."""
    return type(value) is Batched and value.level is level


def lower(tensor: Tensor, levels: Sequence[Any]) -> Tensor:
    """The plain tensor below: one leading dimension for each of `levels`, the outermost first. A level that the tensor does not
    know is a dimension of equal samples."""
    present = []
    while type(tensor) is Batched:
        present.append(tensor.level)
        tensor = tensor.value
    present.reverse()
    unknown = [level for level in present if level not in levels]
    if unknown:
        raise RuntimeError("vmap: a tensor of a vmap that has returned was used")
    with dispatch.suspended():
        for place, level in enumerate(levels):
            if place >= len(present) or present[place] is not level:
                present.insert(place, level)
                wide = ops.unsqueeze(tensor, place)
                tensor = ops.expand(wide, (*wide.shape[:place], level.size, *wide.shape[place + 1 :]))
    return tensor


def lift(tensor: Tensor, levels: Sequence[Any]) -> Tensor:
    """Hide the leading dimensions of a plain tensor: the first for the outermost level."""
    for level in levels:
        tensor = Batched(tensor, level)
    return tensor
