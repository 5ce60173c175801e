"""torch.nn.utils.parametrize: parameters computed from others."""

import eager.nn.parametrization as _parametrization
from eager.nn.parametrization import (
    ParametrizationList,
    cached,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _parametrization)
