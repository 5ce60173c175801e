"""torch.nn.utils.parametrize: parameters computed from others."""

import eager.nn.parametrization as _parametrization
from eager.nn.module import Module
from eager.nn.parametrization import (
    ParametrizationList,
    cached,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)
from flambeau.missing import lookup


def type_before_parametrizations(module: Module) -> type:
    """The class of a module as it was before its first parametrization."""
    return getattr(type(module), "_unparametrized", type(module))


__getattr__ = lookup(__name__, _parametrization)
