"""Adagrad, which divides by the root of all squared gradients so far, and Adadelta, which forgets
them.
"""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.optim.blocks import in_blocks
from eager.optim.optimizer import Optimizer, check_range, count_step, descend, number
from eager.registry import ops


class Adagrad(Optimizer):
    """Gradient over the root of the sum of its squares.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("lr_decay value", lr_decay, lr_decay >= 0.0)
        check_range("weight_decay value", weight_decay, weight_decay >= 0.0)
        check_range("initial_accumulator_value value", initial_accumulator_value,
                    initial_accumulator_value >= 0.0)
        check_range("epsilon value", eps, eps >= 0.0)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused})
        for group in self.param_groups:
            for param in group["params"]:
                start = ops.full_like(param, group["initial_accumulator_value"])
                self.state[param].update(step=tensor(0.0), sum=start)

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if not state:  # the parameter came with a later add_param_group
            state.update(step=tensor(0.0),
                         sum=ops.full_like(param, group["initial_accumulator_value"]))
        steps = count_step(state, group)
        rate = number(group["lr"]) / (1 + (steps - 1) * group["lr_decay"])

        def update(param: Any, grad: Any, total: Any) -> None:
            if group["weight_decay"] != 0:
                grad = grad.add(param, alpha=group["weight_decay"])
            total.addcmul_(grad, grad, value=1)
            descend(param, grad, rate, total.sqrt().add_(group["eps"]))

        in_blocks(update, param, grad, state["sum"])

    def share_memory(self) -> None:
        """Moves the accumulators to shared memory."""
        for state in self.state.values():
            state["sum"].share_memory_()


class Adadelta(Optimizer):
    """Steps as large as the running size of the steps before, over that of the gradient.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("rho value", rho, 0.0 <= rho <= 1.0)
        check_range("epsilon value", eps, eps >= 0.0)
        check_range("weight_decay value", weight_decay, weight_decay >= 0.0)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if not state:
            state.update(step=tensor(0.0), square_avg=ops.zeros_like(param),
                         acc_delta=ops.zeros_like(param))
        count_step(state, group)
        rho, eps = group["rho"], group["eps"]
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])
        state["square_avg"].mul_(rho).addcmul_(grad, grad, value=1 - rho)
        size = state["square_avg"].add(eps).sqrt_()
        delta = state["acc_delta"].add(eps).sqrt_().div_(size).mul_(grad)
        state["acc_delta"].mul_(rho).addcmul_(delta, delta, value=1 - rho)
        descend(param, delta, number(group["lr"]))
