"""Lazy layers: their parameters take their sizes from the first input. Until then they are
uninitialized, and say so when their shape is asked for."""

from __future__ import annotations

from typing import Any

from eager.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from eager.nn.linear import Linear
from eager.nn.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from eager.nn.parameter import UninitializedBuffer, UninitializedParameter


def is_lazy(tensor: Any) -> bool:
    """Whether a parameter or buffer has no size yet."""
    return isinstance(tensor, (UninitializedParameter, UninitializedBuffer))


class LazyModuleMixin:
    """A module that becomes `cls_to_become` at its first call.

    A subclass defines `_infer(input)`: the sizes by the names of the attributes they go to, and
    `_shapes()`: the shapes of its tensors once those are set."""

    cls_to_become: Any = None

    def _begin(self: Any, device: Any, dtype: Any) -> None:
        """Replaces the tensors, made with sizes of zero, by uninitialized ones."""
        for registry, kind in ((self._parameters, UninitializedParameter),
                               (self._buffers, UninitializedBuffer)):
            for name in self._shapes():
                if registry.get(name) is not None:
                    registry[name] = kind(device=device, dtype=dtype)
        self._first_call = self.register_forward_pre_hook(
            lambda module, args, kwargs: module._become(args), with_kwargs=True)
        self.register_load_state_dict_pre_hook(_take_shapes)

    def has_uninitialized_params(self: Any) -> bool:
        """Whether any tensor has no size yet."""
        return any(map(is_lazy, (*self._parameters.values(), *self._buffers.values())))

    def initialize_parameters(self: Any, *args: Any) -> None:
        """Gives the tensors the sizes that this input asks for, and their first values."""
        for name, value in self._infer(args[0]).items():
            setattr(self, name, value)
        if not self.has_uninitialized_params():  # they have been loaded
            return
        for name, shape in self._shapes().items():
            tensor = getattr(self, name)
            if is_lazy(tensor):
                tensor.materialize(shape)
        self.reset_parameters()

    def _become(self: Any, args: tuple) -> None:
        self.initialize_parameters(*args)
        self._first_call.remove()
        del self._first_call
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become


def _take_shapes(module: Any, state: dict, prefix: str, *rest: Any) -> None:
    """Before loading: uninitialized tensors take the shapes of those that are loaded."""
    for registry in (module._parameters, module._buffers):
        for name, tensor in registry.items():
            given = state.get(prefix + name)
            if is_lazy(tensor) and given is not None and not is_lazy(given):
                tensor.materialize(given.shape)


class LazyLinear(LazyModuleMixin, Linear):
    """Linear, with in_features from its first input."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, 0, bias, device, dtype)
        self.out_features = out_features
        self._begin(device, dtype)

    def reset_parameters(self) -> None:
        """As Linear, once the sizes are known."""
        if self.in_features:
            super().reset_parameters()

    def _infer(self, input: Any) -> dict:
        return {"in_features": input.shape[-1]}

    def _shapes(self) -> dict:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}


class _LazyConv(LazyModuleMixin):
    def __init__(self: Any, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, 0, kernel_size, *args, **kwargs)  # type: ignore[call-arg]
        self.out_channels = out_channels
        weight = self.weight
        self._begin(weight.device, weight.dtype)

    def reset_parameters(self: Any) -> None:
        """As the layer it becomes, once the sizes are known."""
        if self.in_channels:
            super().reset_parameters()  # type: ignore[misc]

    def _infer(self: Any, input: Any) -> dict:
        if input.dim() not in (self.rank + 1, self.rank + 2):
            raise RuntimeError(f"Expected {self.rank + 1}D (unbatched) or {self.rank + 2}D "
                               f"(batched) input to {type(self).__name__}, but got input of "
                               f"size: {list(input.shape)}")
        channels = input.shape[input.dim() - self.rank - 1]
        if channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        return {"in_channels": channels}

    def _shapes(self: Any) -> dict:
        outer, inner = ((self.in_channels, self.out_channels) if self.transposed
                        else (self.out_channels, self.in_channels))
        return {"weight": (outer, inner // self.groups, *self.kernel_size),
                "bias": (self.out_channels,)}


class _LazyNorm(LazyModuleMixin):
    def __init__(self: Any, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(  # type: ignore[call-arg]
            0, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self._begin(device, dtype)

    def reset_parameters(self: Any) -> None:
        """As the layer it becomes, once the size is known."""
        if self.num_features:
            super().reset_parameters()  # type: ignore[misc]

    def _infer(self: Any, input: Any) -> dict:
        self._check_input_dim(input)
        single = input.dim() == getattr(self, "rank", 0) + 1
        return {"num_features": input.shape[0 if single and hasattr(self, "rank") else 1]}

    def _shapes(self: Any) -> dict:
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, (self.num_features,))


def _lazy(base: type, kind: type) -> Any:
    name = f"Lazy{kind.__name__}"
    what = "in_channels" if base is _LazyConv else "num_features"
    return type(name, (base, kind), {
        "cls_to_become": kind, "__module__": __name__,
        "__doc__": f"{kind.__name__}, with {what} from its first input."})


LazyConv1d = _lazy(_LazyConv, Conv1d)
LazyConv2d = _lazy(_LazyConv, Conv2d)
LazyConv3d = _lazy(_LazyConv, Conv3d)
LazyConvTranspose1d = _lazy(_LazyConv, ConvTranspose1d)
LazyConvTranspose2d = _lazy(_LazyConv, ConvTranspose2d)
LazyConvTranspose3d = _lazy(_LazyConv, ConvTranspose3d)
LazyBatchNorm1d = _lazy(_LazyNorm, BatchNorm1d)
LazyBatchNorm2d = _lazy(_LazyNorm, BatchNorm2d)
LazyBatchNorm3d = _lazy(_LazyNorm, BatchNorm3d)
LazyInstanceNorm1d = _lazy(_LazyNorm, InstanceNorm1d)
LazyInstanceNorm2d = _lazy(_LazyNorm, InstanceNorm2d)
LazyInstanceNorm3d = _lazy(_LazyNorm, InstanceNorm3d)

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
    "LazyModuleMixin", "is_lazy",
]
