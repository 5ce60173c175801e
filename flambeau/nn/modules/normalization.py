"""torch.nn.modules.normalization."""

import eager.nn as _nn
from eager.nn import (
    CrossMapLRN2d,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
