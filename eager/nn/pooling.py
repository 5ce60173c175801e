"""Pooling layers: maximum, average, power mean, their adaptive forms, and pooling undone."""

from __future__ import annotations

from typing import Any

from eager.nn.convolution import per_dimension
from eager.nn.module import Module
from eager.ops.convolution import expand
from eager.registry import ops


class _MaxPool(Module):
    __constants__ = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    operator: Any

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        return self.operator(input, self.kernel_size, self.stride, self.padding, self.dilation,
                             self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")


class MaxPool1d(_MaxPool):
    """The largest value of each window of a line."""

    operator = ops.max_pool1d


class MaxPool2d(_MaxPool):
    """The largest value of each window of an image."""

    operator = ops.max_pool2d


class MaxPool3d(_MaxPool):
    """The largest value of each window of a volume."""

    operator = ops.max_pool3d


class _MaxUnpool(Module):
    operator: Any
    rank: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = per_dimension(kernel_size, self.rank)
        self.stride = per_dimension(kernel_size if stride is None else stride, self.rank)
        self.padding = per_dimension(padding, self.rank)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        return self.operator(input, indices, self.kernel_size, self.stride, self.padding,
                             output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Undoes MaxPool1d, with zeros for what was lost."""

    rank, operator = 1, ops.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """Undoes MaxPool2d, with zeros for what was lost."""

    rank, operator = 2, ops.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """Undoes MaxPool3d, with zeros for what was lost."""

    rank, operator = 3, ops.max_unpool3d


class AvgPool1d(Module):
    """The mean of each window of a line."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size = per_dimension(kernel_size, 1)
        self.stride = per_dimension(kernel_size if stride is None else stride, 1)
        self.padding = per_dimension(padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Any) -> Any:
        return ops.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                              self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    operator: Any

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Any) -> Any:
        return self.operator(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                             self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window of an image."""

    operator = ops.avg_pool2d


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume."""

    operator = ops.avg_pool3d


class _LPPool(Module):
    operator: Any

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Any) -> Any:
        return self.operator(input, float(self.norm_type), self.kernel_size, self.stride,
                             self.ceil_mode)

    def extra_repr(self) -> str:
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}, ceil_mode={self.ceil_mode}")


class LPPool1d(_LPPool):
    """The power sum of each window of a line, to one over the power."""

    operator = ops.lp_pool1d


class LPPool2d(_LPPool):
    """The power sum of each window of an image, to one over the power."""

    operator = ops.lp_pool2d


class LPPool3d(_LPPool):
    """The power sum of each window of a volume, to one over the power."""

    operator = ops.lp_pool3d


class _AdaptiveAvgPool(Module):
    operator: Any

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return self.operator(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of windows that cover a line evenly."""

    operator = ops.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that cover an image evenly."""

    operator = ops.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that cover a volume evenly."""

    operator = ops.adaptive_avg_pool3d


class _AdaptiveMaxPool(Module):
    operator: Any

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Any) -> Any:
        return self.operator(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest values of windows that cover a line evenly."""

    operator = ops.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest values of windows that cover an image evenly."""

    operator = ops.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest values of windows that cover a volume evenly."""

    operator = ops.adaptive_max_pool3d


class _FractionalMaxPool(Module):
    rank: int
    operator: Any

    def __init__(self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                 return_indices: bool = False, _random_samples: Any = None) -> None:
        super().__init__()
        name = f"FractionalMaxPool{self.rank}d"
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling "
                             "ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        ratios = expand(output_ratio, self.rank, "output_ratio") if output_ratio else ()
        if any(not 0 < ratio < 1 for ratio in ratios):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")
        self.kernel_size = expand(kernel_size, self.rank, "kernel_size")
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = (None if output_size is None
                            else expand(output_size, self.rank, "output_size"))
        self.output_ratio = ratios or None

    def forward(self, input: Any) -> Any:
        return self.operator(input, self.kernel_size, self.output_size, self.output_ratio,
                             self.return_indices, self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest values of windows that random numbers place in an image."""

    rank, operator = 2, ops.fractional_max_pool2d


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest values of windows that random numbers place in a volume."""

    rank, operator = 3, ops.fractional_max_pool3d
