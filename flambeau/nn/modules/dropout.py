"""torch.nn.modules.dropout."""

import eager.nn as _nn
from eager.nn import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
