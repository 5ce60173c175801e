"""Muon: momentum whose update is made orthogonal, for the weights of hidden layers."""

from __future__ import annotations

import math
from typing import Any

from eager.optim.optimizer import Optimizer, check_range, number
from eager.registry import ops


class Muon(Optimizer):
    """Momentum orthogonalized by a Newton-Schulz iteration. For matrices only.

    Raises ValueError for options out of range and for parameters that are no matrices."""

    def __init__(
        self, params: Any, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: tuple = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("momentum value", momentum, momentum >= 0.0)
        check_range("weight_decay value", weight_decay, weight_decay >= 0.0)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError("Muon only supports 2D parameters whereas we found a "
                                     f"parameter with size: {param.size()}")

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = ops.zeros_like(grad)
        buffer, momentum = state["momentum_buffer"], group["momentum"]
        buffer.lerp_(grad, 1 - momentum)
        update = ops.lerp(grad, buffer, momentum) if group["nesterov"] else buffer
        update = _orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        lr = number(group["lr"])
        rows, columns = param.shape
        if group["adjust_lr_fn"] in (None, "original"):
            size = math.sqrt(max(1, rows / columns))
        else:
            size = 0.2 * math.sqrt(max(rows, columns))
        param.mul_(1 - lr * group["weight_decay"])
        param.add_(update.to(param.dtype), alpha=-lr * size)


def _rounded(x: Any) -> Any:
    """float32 numbers that bfloat16 has: the type in which the method is defined."""
    return x.bfloat16().float()


def _orthogonal(matrix: Any, coefficients: tuple, steps: int, eps: float) -> Any:
    """Singular values pushed towards one, by a polynomial."""
    a, b, c = coefficients
    x = _rounded(matrix)
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    x = _rounded(x / ops.clamp_min(_rounded(ops.norm(x)), eps))
    for _ in range(steps):
        gram = _rounded(x @ x.t())
        x = _rounded(a * x + _rounded(b * gram + c * (gram @ gram)) @ x)
    return x.t() if tall else x
