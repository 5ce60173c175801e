"""Normalization layers: by batch, layer, group, instance, root mean square, and over neighbouring
channels.
"""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.dtype import int64
from eager.nn import init
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops


class _Running(Module):
    """A layer with affine parameters and running statistics, one per channel."""

    _version = 2
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(
                ops.empty((num_features,), dtype=dtype, device=device)) if wanted else None)
        kept = track_running_stats
        self.register_buffer("running_mean", ops.zeros(
            (num_features,), dtype=dtype, device=device) if kept else None)
        self.register_buffer("running_var", ops.ones(
            (num_features,), dtype=dtype, device=device) if kept else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64, device=device)
                             if kept else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0 and variance 1, over no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Any) -> None:
        raise NotImplementedError(type(self).__name__)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any
                              ) -> None:
        key = prefix + "num_batches_tracked"
        old = local_metadata.get("version")
        if self.track_running_stats and (old is None or old < 2) and key not in state_dict:
            state_dict[key] = self.num_batches_tracked  # written before batches were counted
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_Running):
    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        counts = self.training and self.track_running_stats
        if counts and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        training = self.training or (self.running_mean is None and self.running_var is None)
        # without tracking, the running statistics are neither read nor written in training
        reads = not self.training or self.track_running_stats
        return ops.batch_norm(
            input, self.running_mean if reads else None, self.running_var if reads else None,
            self.weight, self.bias, training, momentum, self.eps)


def _need(input: Any, *ranks: int) -> None:
    if input.dim() not in ranks:
        words = " or ".join(f"{rank}D" for rank in ranks)
        raise ValueError(f"expected {words} input (got {input.dim()}D input)")


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (batch, channels) or (batch, channels, length)."""

    def _check_input_dim(self, input: Any) -> None:
        _need(input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (batch, channels, height, width)."""

    def _check_input_dim(self, input: Any) -> None:
        _need(input, 4)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (batch, channels, depth, height, width)."""

    def _check_input_dim(self, input: Any) -> None:
        _need(input, 5)


class SyncBatchNorm(_BatchNorm):
    """Batch normalization over the processes of a group. As in PyTorch, it runs on devices that
    have groups only: on the CPU, `forward` raises ValueError."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, process_group: Any = None,
                 device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)
        self.process_group = process_group

    def forward(self, input: Any) -> Any:
        raise ValueError(
            "SyncBatchNorm expected input tensor to be on a device with process groups, got "
            f"{input.device}: use BatchNorm"
        )


class _InstanceNorm(_Running):
    rank: int

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)

    def _check_input_dim(self, input: Any) -> None:
        _need(input, self.rank + 1, self.rank + 2)

    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        single = input.dim() == self.rank + 1
        channels = input.shape[0 if single else 1]
        if channels != self.num_features and self.affine:
            raise ValueError(f"expected input's size at dim={0 if single else 1} to match "
                             f"num_features ({self.num_features}), but got: {channels}.")
        result = ops.instance_norm(
            input.unsqueeze(0) if single else input, self.running_mean, self.running_var,
            self.weight, self.bias, self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps)
        return result.squeeze(0) if single else result


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (batch, channels, length)."""

    rank = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (batch, channels, height, width)."""

    rank = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (batch, channels, depth, height, width)."""

    rank = 3


class LayerNorm(Module):
    """Normalization over the last dimensions."""

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    bias: Any

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        many = isinstance(normalized_shape, (tuple, list))
        self.normalized_shape = tuple(normalized_shape) if many else (normalized_shape,)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", True), ("bias", bias)):
            self.register_parameter(name, Parameter(
                ops.empty(self.normalized_shape, dtype=dtype, device=device))
                if elementwise_affine and wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return ops.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class RMSNorm(Module):
    """Division by the root mean square over the last dimensions."""

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]

    def __init__(self, normalized_shape: Any, eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        many = isinstance(normalized_shape, (tuple, list))
        self.normalized_shape = tuple(normalized_shape) if many else (normalized_shape,)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter(
            ops.empty(self.normalized_shape, dtype=dtype, device=device))
            if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Any) -> Any:
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")


class GroupNorm(Module):
    """Normalization of each sample over groups of channels."""

    __constants__ = ["num_groups", "num_channels", "eps", "affine"]

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups "
                             f"({num_groups})")
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(
                ops.empty((num_channels,), dtype=dtype, device=device)) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return ops.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class LocalResponseNorm(Module):
    """Division by a power of the mean square over neighbouring channels."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Any) -> Any:
        return ops.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """LocalResponseNorm of images, under its older name."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)
