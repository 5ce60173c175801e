"""torch.nn.init: first values of parameters; the names without an underscore are deprecated, here as there."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import eager.nn.init as _init
from eager.nn.init import *
from flambeau.missing import lookup


def _deprecated(name: str) -> Callable:
    function = getattr(_init, name + "_")

    @functools.wraps(function)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`.", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    old.__name__ = name
    return old


for _name in (
    "uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal",
    "orthogonal", "sparse",
):  # fmt: skip
    globals()[_name] = _deprecated(_name)

__getattr__ = lookup(__name__, _init)
