"""torch.nn.modules.distance."""

import eager.nn as _nn
from eager.nn import (
    CosineSimilarity,
    PairwiseDistance,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
