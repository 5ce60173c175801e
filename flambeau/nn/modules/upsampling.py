"""torch.nn.modules.upsampling."""

import eager.nn as _nn
from eager.nn import (
    Upsample,
    UpsamplingBilinear2d,
    UpsamplingNearest2d,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
