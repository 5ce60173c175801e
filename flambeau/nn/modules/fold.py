"""torch.nn.modules.fold."""

import eager.nn as _nn
from eager.nn import (
    Fold,
    Unfold,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
