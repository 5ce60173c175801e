"""torch.nn.utils.spectral_norm: a weight over its largest singular value, computed by a hook before each call."""

from __future__ import annotations

from typing import Any

from eager.autograd import no_grad
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


class SpectralNorm:
    """The hook: one or several steps of power iteration, then the division."""

    def __init__(self, name: str, steps: int, dim: int, eps: float):
        if steps <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={steps}")
        self.name, self.steps, self.dim, self.eps = name, steps, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        return ops.flatten(ops.transpose(weight, 0, self.dim) if self.dim else weight, 1)

    def compute_weight(self, module: Module, iterate: bool) -> Tensor:
        weight = getattr(module, self.name + "_orig")
        u, v, matrix = getattr(module, self.name + "_u"), getattr(module, self.name + "_v"), self.matrix(weight)
        if iterate:
            with no_grad():
                for _ in range(self.steps):
                    v.copy_(ops.normalize(ops.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(ops.normalize(ops.mv(matrix, v), dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()
        return weight / ops.dot(u, ops.mv(matrix, v))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divide a parameter by its largest singular value before each call. Raises RuntimeError if that is done already."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    hook, weight = SpectralNorm(name, n_power_iterations, dim, eps), module._parameters.pop(name)
    rows, columns = hook.matrix(weight.detach()).shape
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach())
    for part, size in (("_u", rows), ("_v", columns)):
        module.register_buffer(name + part, ops.normalize(ops.randn((size,), dtype=weight.dtype), dim=0, eps=eps))
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Put the normalized value back as the parameter. Raises ValueError if it was not replaced."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, SpectralNorm) and hook.name == name:
            with no_grad():
                weight = hook.compute_weight(module, False)
            delattr(module, name)
            del module._parameters[name + "_orig"], module._buffers[name + "_u"], module._buffers[name + "_v"]
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")


__getattr__ = lookup(__name__)
