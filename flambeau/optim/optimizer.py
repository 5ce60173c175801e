"""torch.optim.optimizer: the base of optimizers, and the names that optimizers written elsewhere import."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import eager.optim.optimizer as _optimizer
from eager.autograd import set_grad_enabled
from eager.optim.optimizer import Optimizer
from eager.tensor import Tensor
from flambeau.missing import lookup

ParamsT = _params_t = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class _RequiredParameter:
    """Marks an option that has no default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


def _use_grad_for_differentiable(func: Callable) -> Callable:
    """Run an optimizer's step with gradients only if its option `differentiable` says so."""

    @functools.wraps(func)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with set_grad_enabled(self.defaults.get("differentiable", False)):
            return func(self, *args, **kwargs)

    return step


def _default_to_fused_or_foreach(params: Any, differentiable: bool, use_fused: bool = False) -> tuple[bool, bool]:
    """Neither: one tensor after the other."""
    return False, False


def _get_value(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) else x


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """None: there is no CUDA graph to capture into."""
    return []


__getattr__ = lookup(__name__, _optimizer)
