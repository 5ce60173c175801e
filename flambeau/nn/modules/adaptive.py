"""torch.nn.modules.adaptive."""

import eager.nn as _nn
from eager.nn import (
    AdaptiveLogSoftmaxWithLoss,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
