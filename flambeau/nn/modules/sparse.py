"""torch.nn.modules.sparse."""

import eager.nn as _nn
from eager.nn import (
    Embedding,
    EmbeddingBag,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
