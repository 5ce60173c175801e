"""torch.nn.modules.linear."""

import eager.nn as _nn
from eager.nn import (
    Bilinear,
    Identity,
    LazyLinear,
    Linear,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
