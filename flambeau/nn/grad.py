"""torch.nn.grad: the gradients of convolutions by their input and their weight, as functions."""

from __future__ import annotations

from typing import Any

from eager.registry import ops
from flambeau.missing import lookup


def _each(value: Any, rank: int) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def _by_input(rank: int) -> Any:
    def grad(
        input_size: Any, weight: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        """The gradient by the input, which has the size `input_size`. Raises RuntimeError for sizes that do not fit."""
        how = (_each(stride, rank), _each(padding, rank), _each(dilation, rank))
        return ops.convolution_input_grad(grad_output, weight, tuple(input_size)[2:], *how, groups)

    grad.__name__ = grad.__qualname__ = f"conv{rank}d_input"
    return grad


def _by_weight(rank: int) -> Any:
    def grad(
        input: Any, weight_size: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        """The gradient by the weight, which has the size `weight_size`."""
        how = (_each(stride, rank), _each(padding, rank), _each(dilation, rank))
        return ops.convolution_weight_grad(grad_output, input, tuple(weight_size)[2:], *how, groups)

    grad.__name__ = grad.__qualname__ = f"conv{rank}d_weight"
    return grad


conv1d_input, conv2d_input, conv3d_input = map(_by_input, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(_by_weight, (1, 2, 3))

__getattr__ = lookup(__name__)
