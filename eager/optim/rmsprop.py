"""RMSprop, which divides by a running size of the gradient, and Rprop, which only uses its sign."""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.optim.blocks import in_blocks
from eager.optim.optimizer import Optimizer, check_range, count_step, descend, number
from eager.registry import ops


class RMSprop(Optimizer):
    """Gradient over its running root mean square, optionally centered and with momentum.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("epsilon value", eps, eps >= 0.0)
        check_range("momentum value", momentum, momentum >= 0.0)
        check_range("weight_decay value", weight_decay, weight_decay >= 0.0)
        check_range("alpha value", alpha, alpha >= 0.0)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if not state:
            state.update(step=tensor(0.0), square_avg=ops.zeros_like(param))
            if group["momentum"] > 0:
                state["momentum_buffer"] = ops.zeros_like(param)
            if group["centered"]:
                state["grad_avg"] = ops.zeros_like(param)
        count_step(state, group)
        lr, alpha = number(group["lr"]), group["alpha"]

        def update(param: Any, grad: Any, square: Any, mean: Any, buffer: Any) -> None:
            if group["weight_decay"] != 0:
                grad = grad.add(param, alpha=group["weight_decay"])
            square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
            if mean is not None:
                mean.lerp_(grad, 1 - alpha)
                size = square.addcmul(mean, mean, value=-1).sqrt_()
            else:
                size = square.sqrt()
            size.add_(group["eps"])
            if buffer is not None:
                buffer.mul_(group["momentum"]).addcdiv_(grad, size)
                descend(param, buffer, lr)
            else:
                descend(param, grad, lr, size)

        in_blocks(update, param, grad, state["square_avg"], state.get("grad_avg"),
                  state.get("momentum_buffer"))


class Rprop(Optimizer):
    """Resilient backpropagation: a step size per element, grown or shrunk by the gradient's sign.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        check_range("eta values", f"{etas[0]}, {etas[1]}", 0.0 < etas[0] < 1.0 < etas[1])
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        if not state:
            state.update(step=tensor(0.0), prev=ops.zeros_like(param),
                         step_size=ops.full_like(param, number(group["lr"])))
        count_step(state, group)
        shrink, grow = group["etas"]
        smallest, largest = group["step_sizes"]
        sign = grad.mul(state["prev"]).sign()
        factor = ops.where(sign > 0, sign * grow, ops.where(sign < 0, sign * -shrink, sign + 1))
        size = state["step_size"]
        size.copy_((size * factor).clamp(smallest, largest))
        # where the sign changed the last step went too far: stay there this time
        grad = ops.where(sign < 0, 0.0, grad)
        param.addcmul_(grad.sign(), size, value=-1)
        state["prev"].copy_(grad)
