"""torch.nn.utils.init: modules whose parameters are about to be overwritten."""

from __future__ import annotations

import inspect
from typing import Any

from eager.nn.module import Module
from eager.rng import fork_rng
from flambeau.missing import lookup


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module whose parameters have no values to rely on, made without drawing random numbers.

    Raises RuntimeError for a class that takes no `device`."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with fork_rng():  # what the parameters are is not promised, but that nothing is drawn for them
        return module_cls(*args, **kwargs)


__getattr__ = lookup(__name__)
