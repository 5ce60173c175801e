"""Averages of a model over its training: equal weights (stochastic weight averaging) or exponential ones, the schedule of the learning
rate that goes with them, and statistics of batch norms for the averaged weights.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from eager.autograd import no_grad
from eager.dtype import int64
from eager.nn.module import Module
from eager.nn.normalization import _BatchNorm
from eager.ops.creation import zeros
from eager.optim.scheduler import LRScheduler
from eager.tensor import Tensor


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """The exponential average: `decay` of the old, the rest of the new."""
    _check_decay(decay)

    @no_grad()
    def averaged(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return averaged


def get_swa_avg_fn() -> Callable:
    """The average of all with equal weights."""

    @no_grad()
    def averaged(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return averaged


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _over_lists(average: Callable) -> Callable:
    @no_grad()
    def averaged(averaged_params: Any, current_params: Any, num_averaged: Any) -> None:
        for old, new in zip(averaged_params, current_params):
            old.copy_(average(old, new, num_averaged) if old.dtype.is_floating_point or old.dtype.is_complex else new)

    return averaged


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """`get_ema_avg_fn` over lists, in place."""
    return _over_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable:
    """`get_swa_avg_fn` over lists, in place."""
    return _over_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are averages: call `update_parameters(model)` after each step or epoch.

    `avg_fn(average, current, count)` says how; `multi_avg_fn` does it for lists, in place; equal weights by default. Buffers are
    averaged too with `use_buffers`, and copied otherwise."""

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: Any = None, avg_fn: Callable | None = None, multi_avg_fn: Callable | None = None, use_buffers: bool = False
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", zeros((), dtype=int64))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of the model into the averages."""

        def members(source: Module) -> list[Tensor]:
            found: Iterable[Tensor] = source.parameters()
            if self.use_buffers:
                found = itertools.chain(found, source.buffers())
            return [tensor.detach() for tensor in found]

        averages, current = members(self.module), members(model)
        if self.n_averaged.item() == 0:
            for old, new in zip(averages, current):
                old.copy_(new)
        elif self.avg_fn is not None:
            for old, new in zip(averages, current):
                old.copy_(self.avg_fn(old, new, self.n_averaged))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, current, self.n_averaged)
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers()):
                mine.detach().copy_(theirs.detach())
        self.n_averaged.add_(1)


@no_grad()
def update_bn(loader: Iterable, model: Module, device: Any = None) -> None:
    """Running statistics of a model's batch norms, made anew as plain averages over the data."""
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    if not momenta:
        return
    training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch if device is None else batch.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """Anneals the learning rate of each group to `swa_lr` in `anneal_epochs` steps, along a cosine or a line, and keeps it there."""

    def __init__(self, optimizer: Any, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1) -> None:
        groups = optimizer.param_groups
        rates = list(swa_lr) if isinstance(swa_lr, (list, tuple)) else [swa_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(f"swa_lr must have the same length as optimizer.param_groups: swa_lr has {len(rates)}, "
                             f"optimizer.param_groups has {len(groups)}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for group, rate in zip(groups, rates):
            group["swa_lr"] = rate
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way lies behind after so many steps."""
        way = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return way if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * way)) / 2

    def get_lr(self) -> list:
        """The next rates. Each follows from the present one, so that another schedule may have changed that."""
        step = self._step_count - 1
        step = max(1, step) if self.anneal_epochs == 0 else step
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            target = group["swa_lr"]
            start = target if before == 1 else (group["lr"] - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
