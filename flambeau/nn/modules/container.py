"""torch.nn.modules.container."""

import eager.nn as _nn
from eager.nn import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
