"""torch.nn.modules.transformer."""

import eager.nn as _nn
from eager.nn import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
