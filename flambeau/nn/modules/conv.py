"""torch.nn.modules.conv."""

import eager.nn as _nn
from eager.nn import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
