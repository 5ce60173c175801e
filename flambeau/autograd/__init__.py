"""torch.autograd: gradients, custom functions, checks.

anomaly_mode.py  where a NaN, or an error of the backward, comes from
functional.py  products with jacobians and Hessians of functions of tensors
profiler.py   names of regions
function.py   Function and its context under torch's older path
graph.py      nodes, and hooks on what is saved
"""

from __future__ import annotations

import importlib
from typing import Any

import eager.autograd as _autograd
from eager.autograd import (
    backward,
    enable_grad,
    grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)
from eager.function import Function
from eager.tensor import Tensor
from flambeau.autograd import anomaly_mode, function, functional, graph, profiler
from flambeau.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from flambeau.missing import lookup


class _VariableType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor)


class Variable(metaclass=_VariableType):
    """The older name of a tensor with gradients: `Variable(tensor, requires_grad)` gives a tensor."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Any:
        made = data.detach()
        return made.requires_grad_() if requires_grad else made


def _checks() -> Any:
    return importlib.import_module("eager.gradcheck")


_lookup = lookup(__name__, _autograd)


def __getattr__(name: str) -> Any:
    if name in ("gradcheck", "gradgradcheck"):
        return getattr(_checks(), name)
    return _lookup(name)
