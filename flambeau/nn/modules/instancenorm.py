"""torch.nn.modules.instancenorm."""

import eager.nn as _nn
from eager.nn import (
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from eager.nn.normalization import _InstanceNorm
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
