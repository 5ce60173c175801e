"""torch.nn.utils.clip_grad: gradients kept within a norm or a value."""

from __future__ import annotations

import math
from collections.abc import Iterable

from eager.autograd import no_grad
from eager.construct import tensor
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


def _list(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of the tensors together. Raises RuntimeError if it is not finite and must be."""
    flat = [ops.abs(value.detach()) for value in _list(tensors)]
    if not flat:
        return tensor(0.0)
    power = float(norm_type)
    if math.isinf(power):
        total = ops.amax(ops.stack([ops.amax(value) for value in flat]))
    else:
        total = ops.pow(ops.sum(ops.stack([ops.sum(ops.pow(value, power)) for value in flat])), 1.0 / power)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {power} for gradients from `parameters` is non-finite, so it cannot be clipped."
        )
    return total


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that their norm together is `max_norm` at most; gives the norm before."""
    grads = [parameter.grad for parameter in _list(parameters) if parameter.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    scale = ops.clamp(ops.div(max_norm, ops.add(total, 1e-6)), max=1.0)
    for grad in grads:
        grad.mul_(scale)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Keep every element of the gradients within ±`clip_value`."""
    for parameter in _list(parameters):
        if parameter.grad is not None:
            parameter.grad.clamp_(-clip_value, clip_value)


__getattr__ = lookup(__name__)
