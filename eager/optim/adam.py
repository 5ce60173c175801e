"""Adam and its family: AdamW (decoupled weight decay), Adamax (infinity norm), NAdam (Nesterov),
RAdam (rectified). All keep a running mean of the gradient and one of its size.
"""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.optim.blocks import in_blocks
from eager.optim.optimizer import Optimizer, check_betas, check_range, count_step, descend, number
from eager.registry import ops
from eager.tensor import Tensor


def _check(lr: Any, betas: Any, eps: float, weight_decay: float) -> None:
    check_range("learning rate", lr, number(lr) >= 0.0)
    check_range("epsilon value", eps, eps >= 0.0)
    check_betas(betas)
    check_range("weight_decay value", weight_decay, weight_decay >= 0.0)


def _advance(state: dict, group: dict, param: Any, *averages: str) -> Any:
    """Counts a step (`count_step`); at the first one starts the named averages at zero."""
    if not state:
        state["step"] = tensor(0.0)
        for name in averages:
            state[name] = ops.zeros_like(param)
    return count_step(state, group)


def _decay(param: Any, grad: Any, group: dict, decoupled: bool) -> Any:
    """The gradient with weight decay in it; or, decoupled, the decay done on the parameter."""
    if group["weight_decay"] == 0:
        return grad
    if not decoupled:
        return grad.add(param, alpha=group["weight_decay"])
    param.mul_(1 - number(group["lr"]) * group["weight_decay"])
    return grad


class Adam(Optimizer):
    """Adaptive moments.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        largest = ("max_exp_avg_sq",) if group["amsgrad"] else ()
        step = _advance(state, group, param, "exp_avg", "exp_avg_sq", *largest)
        beta1, beta2 = (number(beta) for beta in group["betas"])
        rate = number(group["lr"]) / (1 - beta1**step)
        correction = (1 - beta2**step) ** 0.5

        def update(param: Any, grad: Any, mean: Any, square: Any, largest: Any) -> None:
            grad = _decay(param, grad, group, group["decoupled_weight_decay"])
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            if largest is not None:
                square = largest.copy_(ops.maximum(largest, square))
            size = square.sqrt().div_(correction).add_(group["eps"])
            descend(param, mean, rate, size)

        in_blocks(update, param, grad, state["exp_avg"], state["exp_avg_sq"],
                  state.get("max_exp_avg_sq"))


class AdamW(Adam):
    """Adam whose weight decay does not go through the moments.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a checkpoint written before the option existed
            group["decoupled_weight_decay"] = True


class Adamax(Optimizer):
    """Adam with the infinity norm.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        step = _advance(state, group, param, "exp_avg", "exp_inf")
        beta1, beta2 = group["betas"]
        grad = _decay(param, grad, group, False)
        mean, norm = state["exp_avg"], state["exp_inf"]
        mean.lerp_(grad, 1 - beta1)
        norm.copy_(ops.maximum(norm.mul_(beta2), grad.abs().add_(group["eps"])))
        descend(param, mean, number(group["lr"]) / (1 - beta1**step), norm)


class NAdam(Optimizer):
    """Adam with Nesterov momentum.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        check_range("momentum_decay value", momentum_decay, momentum_decay >= 0.0)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        step = _advance(state, group, param, "exp_avg", "exp_avg_sq")
        beta1, beta2 = group["betas"]
        lr, slowing = number(group["lr"]), group["momentum_decay"]
        grad = _decay(param, grad, group, group["decoupled_weight_decay"])
        momentum = beta1 * (1.0 - 0.5 * (0.96 ** (step * slowing)))
        following = beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * slowing)))
        product = state.setdefault("mu_product", tensor(1.0))
        product *= momentum
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        size = square.div(1 - beta2**step).sqrt().add_(group["eps"])
        past = product.double() if isinstance(step, Tensor) else product.item()
        descend(param, grad, lr * (1.0 - momentum) / (1.0 - past), size)
        descend(param, mean, lr * following / (1.0 - past * following), size)


class RAdam(Optimizer):
    """Adam with a rectified variance.

    Raises ValueError for options out of range."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable})

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        step = _advance(state, group, param, "exp_avg", "exp_avg_sq")
        beta1, beta2 = group["betas"]
        grad = _decay(param, grad, group, group["decoupled_weight_decay"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        correction = 1 - beta2**step
        update = mean / (1 - beta1**step)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * (beta2**step) / correction
        in_graph = isinstance(step, Tensor)
        if in_graph or length > 5.0:  # below, the variance is not tractable
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            rectification = ratio.clamp_min(0).sqrt() if in_graph else ratio**0.5
            size = square.sqrt().add_(group["eps"])
            rectified = update * rectification * (correction**0.5 / size)
            update = ops.where(length > 5.0, rectified, update) if in_graph else rectified
        descend(param, update, number(group["lr"]))
