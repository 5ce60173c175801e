"""Adafactor: the second moment of a matrix kept as its row and column means."""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.dtype import finfo
from eager.optim.optimizer import Optimizer, check_range, number


class Adafactor(Optimizer):
    """Adaptive steps with a factored second moment and steps relative to the parameter's size.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0,
        *, foreach: bool | None = None, maximize: bool = False,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("beta2_decay", beta2_decay, beta2_decay <= 0.0)
        check_range("epsilon1", eps[0], eps[0] is None or eps[0] >= 0.0)
        check_range("epsilon2", eps[1], eps[1] >= 0.0)
        check_range("clipping threshold d", d, d >= 1)
        check_range("weight_decay", weight_decay, weight_decay >= 0.0)
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if not state:
            _start(state, grad)
        state["step"] += 1
        step, lr = state["step"].item(), number(group["lr"])
        eps1, eps2 = group["eps"]
        eps1 = finfo(param.dtype).eps if eps1 is None else eps1
        forgetting = step ** group["beta2_decay"]
        rate = min(lr, 1 / step**0.5)
        scale = max(eps2, param.norm(2).item() / (param.numel() ** 0.5)) * rate
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])
        variance = _second_moment(state, grad, forgetting, eps1)
        update = variance.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
        size = max(1.0, update.norm(2).item() / ((update.numel() ** 0.5) * group["d"]))
        param.add_(update, alpha=-scale / size)


def _start(state: dict, grad: Any) -> None:
    state["step"] = tensor(0.0)
    if grad.dim() > 1:
        rows, columns = list(grad.shape), list(grad.shape)
        rows[-1] = columns[-2] = 1
        state["row_var"], state["col_var"] = grad.new_zeros(rows), grad.new_zeros(columns)
    else:
        state["variance"] = grad.new_zeros(grad.shape)


def _second_moment(state: dict, grad: Any, forgetting: float, eps1: float) -> Any:
    """Updates the running second moment; returns an estimate that may be written to."""
    if grad.dim() <= 1:
        variance = state["variance"]
        variance.lerp_(grad.square(), forgetting)
        return variance.clone()
    rows, columns = state["row_var"], state["col_var"]
    rows.lerp_(grad.square().mean(dim=-1, keepdim=True), forgetting)
    columns.lerp_(grad.square().mean(dim=-2, keepdim=True), forgetting)
    return (rows @ columns).div_(rows.mean(dim=-2, keepdim=True).clamp_(min=eps1))
