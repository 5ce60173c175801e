"""torch.nn.modules.module."""

import eager.nn as _nn
from eager.nn import (
    Module,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
