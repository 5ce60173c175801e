"""torch.nn.modules.pixelshuffle."""

import eager.nn as _nn
from eager.nn import (
    PixelShuffle,
    PixelUnshuffle,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
