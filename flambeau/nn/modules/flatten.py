"""torch.nn.modules.flatten."""

import eager.nn as _nn
from eager.nn import (
    Flatten,
    Unflatten,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
