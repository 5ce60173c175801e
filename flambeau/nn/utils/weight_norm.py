"""torch.nn.utils.weight_norm: a weight as a direction and a length, put together before each call."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


def _length(v: Tensor, dim: int | None) -> Tensor:
    """The norm over all dimensions but `dim`; over all if it is None."""
    others = [i for i in range(v.ndim) if dim is None or i != dim % v.ndim]
    return ops.sqrt(ops.sum(ops.mul(v, v), others, dim is not None))


class WeightNorm:
    """The hook that computes `name` from `name_g` and `name_v`."""

    def __init__(self, name: str, dim: int | None):
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return ops.mul(v, ops.div(g, _length(v, self.dim)))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replace a parameter by its length and direction. Raises RuntimeError if that was done already."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook, weight = WeightNorm(name, dim), module._parameters.pop(name)
    module.register_parameter(name + "_g", Parameter(_length(weight.detach(), dim)))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Put the parameter back. Raises ValueError if it was not replaced."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, WeightNorm) and hook.name == name:
            weight = hook.compute_weight(module).detach()
            delattr(module, name)
            for part in ("_g", "_v"):
                del module._parameters[name + part]
            setattr(module, name, Parameter(weight))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")


__getattr__ = lookup(__name__)
