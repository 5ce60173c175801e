"""Names of torch's C++ core that model code written in Python reaches for. Dispatch keys are
names and sets of names here: nothing dispatches on them."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from eager.autograd import set_grad_enabled
from flambeau.missing import lookup


class DispatchKey(Enum):
    """Keys by torch's names."""

    CPU = auto()
    CUDA = auto()
    Meta = auto()
    Autograd = auto()
    AutogradCPU = auto()
    AutocastCPU = auto()
    AutocastCUDA = auto()
    AutocastXPU = auto()
    CompositeImplicitAutograd = auto()
    CompositeExplicitAutograd = auto()


class DispatchKeySet:
    """A set of keys."""

    def __init__(self, *keys: DispatchKey):
        self.keys = frozenset(keys)

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(*self.keys, *other.keys)

    def has(self, key: DispatchKey) -> bool:
        return key in self.keys


class _Nothing:
    def __init__(self, *args: Any):
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


class _ExcludeDispatchKeyGuard(_Nothing):
    """Nothing to exclude."""


class DisableTorchFunctionSubclass(_Nothing):
    """Nothing to disable: flambeau does not dispatch on `__torch_function__`."""


def _set_grad_enabled(mode: bool) -> None:
    """Whether operations are recorded from now on."""
    set_grad_enabled(mode)


def _get_tracing_state() -> None:
    """None: there is no TorchScript tracer."""


def _log_api_usage_once(event: str) -> None:
    """Nothing is logged."""


__getattr__ = lookup(__name__)
