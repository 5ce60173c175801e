"""Convolution layers: Conv1d/2d/3d and their transposes."""

from __future__ import annotations

import math
from typing import Any

from eager.nn import init
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops


def per_dimension(value: Any, rank: int) -> tuple:
    """One value for each dimension."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    __constants__ = ["stride", "padding", "dilation", "groups", "padding_mode", "output_padding",
                     "in_channels", "out_channels", "kernel_size"]
    rank: int
    transposed = False
    bias: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        output_padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
        device: Any, dtype: Any,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of "
                             "{'same', 'valid'}")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {set(_MODES)}, but got padding_mode="
                             f"'{padding_mode}'")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_dimension(kernel_size, self.rank)
        self.stride = per_dimension(stride, self.rank)
        self.padding = padding if isinstance(padding, str) else per_dimension(padding, self.rank)
        self.dilation = per_dimension(dilation, self.rank)
        self.output_padding = per_dimension(output_padding, self.rank)
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        outer, inner = ((in_channels, out_channels) if self.transposed
                        else (out_channels, in_channels))
        self.weight = Parameter(ops.empty((outer, inner // groups, *self.kernel_size), dtype=dtype,
                                          device=device))
        if bias:
            self.bias = Parameter(ops.empty((out_channels,), dtype=dtype, device=device))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    @property
    def _reversed_padding_repeated_twice(self) -> list[int]:
        """The padding as `pad` takes it."""
        widths: list = []
        for i in reversed(range(self.rank)):
            if self.padding == "valid":
                widths += [0, 0]
            elif self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                widths += [total // 2, total - total // 2]
            else:
                widths += [self.padding[i], self.padding[i]]
        return widths

    def reset_parameters(self) -> None:
        """Uniform within one over the root of the number of inputs to an output."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            inputs, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if inputs:
                init.uniform_(self.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}", f"{self.out_channels}",
                 f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        if self.padding != (0,) * self.rank:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.rank:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * self.rank:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


_ConvNd = _Conv


class _Convolution(_Conv):
    operator: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, 0, dilation,
                         groups, bias, padding_mode, device, dtype)

    def forward(self, input: Any) -> Any:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = ops.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            padding = (0,) * self.rank
        return self.operator(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Convolution):
    """Convolution of (batch, channels, length)."""

    rank = 1
    operator = ops.conv1d


class Conv2d(_Convolution):
    """Convolution of (batch, channels, height, width)."""

    rank = 2
    operator = ops.conv2d


class Conv3d(_Convolution):
    """Convolution of (batch, channels, depth, height, width)."""

    rank = 3
    operator = ops.conv3d


class _Transposed(_Conv):
    transposed = True
    operator: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding,
                         dilation, groups, bias, padding_mode, device, dtype)

    def _output_padding(self, input: Any, output_size: Any) -> tuple:
        if output_size is None:
            return self.output_padding
        wanted = list(output_size)[-self.rank:]
        spatial = input.shape[input.dim() - self.rank:]
        smallest = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in zip(
            spatial, self.stride, self.padding, self.dilation, self.kernel_size)]
        for n, low, s in zip(wanted, smallest, self.stride):
            if not low <= n <= low + s - 1:
                raise ValueError(
                    f"requested an output size of {output_size}, but valid sizes range from "
                    f"{smallest} to {[a + b - 1 for a, b in zip(smallest, self.stride)]} (for an "
                    f"input of {list(input.shape)})")
        return tuple(n - low for n, low in zip(wanted, smallest))

    def forward(self, input: Any, output_size: Any = None) -> Any:
        extra = self._output_padding(input, output_size)
        return self.operator(input, self.weight, self.bias, self.stride, self.padding, extra,
                             self.groups, self.dilation)


class ConvTranspose1d(_Transposed):
    """Transposed convolution of (batch, channels, length)."""

    rank = 1
    operator = ops.conv_transpose1d


class ConvTranspose2d(_Transposed):
    """Transposed convolution of (batch, channels, height, width)."""

    rank = 2
    operator = ops.conv_transpose2d


class ConvTranspose3d(_Transposed):
    """Transposed convolution of (batch, channels, depth, height, width)."""

    rank = 3
    operator = ops.conv_transpose3d
