"""Stochastic gradient descent, with momentum (SGD) or with averaging (ASGD)."""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.optim.blocks import in_blocks
from eager.optim.optimizer import Optimizer, check_range, count_step, descend, number
from eager.registry import ops
from eager.tensor import Tensor


class SGD(Optimizer):
    """Gradient descent with momentum, dampening, Nesterov momentum and weight decay.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("momentum value", momentum, momentum >= 0.0)
        check_range("weight_decay value", weight_decay, number(weight_decay) >= 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        decay, momentum = number(group["weight_decay"]), group["momentum"]
        first = momentum != 0 and state.get("momentum_buffer") is None
        if first:
            state["momentum_buffer"] = ops.zeros_like(param)

        def update(param: Any, grad: Any, buffer: Any) -> None:
            if decay != 0:
                grad = grad.add(param, alpha=decay)
            if first:
                buffer.copy_(grad)
            elif buffer is not None:
                buffer.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
            if buffer is not None:
                grad = grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer
            descend(param, grad, number(group["lr"]))

        if decay == 0 and momentum == 0:
            update(param, grad, None)  # a single operator, which has blocks of its own
        else:
            in_blocks(update, param, grad, state.get("momentum_buffer"))


class ASGD(Optimizer):
    """Averaged stochastic gradient descent; the average is in the state as `ax`.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("weight_decay value", weight_decay, weight_decay >= 0.0)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        lr, lambd = number(group["lr"]), group["lambd"]
        if not state:
            state.update(step=tensor(0.0), eta=tensor(float(lr)), mu=tensor(1.0),
                         ax=ops.zeros_like(param))
        step = count_step(state, group)
        in_graph = isinstance(step, Tensor)
        eta, mu = (state[name].double() if in_graph else state[name].item() for name in ("eta", "mu"))
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])
        param.mul_(1 - lambd * eta)
        descend(param, grad, eta)
        average = state["ax"]
        eta = lr / ((1 + lambd * lr * step) ** group["alpha"])
        if in_graph:
            average.copy_(ops.where(mu == 1, param, average + (param - average) * mu))
            state["eta"].copy_(eta)
            state["mu"].copy_(1 / (step - group["t0"]).clamp_min(1))
        else:
            average.copy_(param if mu == 1 else average + (param - average) * mu)
            state["eta"], state["mu"] = tensor(eta), tensor(1 / max(1, step - group["t0"]))
