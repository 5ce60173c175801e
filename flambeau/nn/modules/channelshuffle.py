"""torch.nn.modules.channelshuffle."""

import eager.nn as _nn
from eager.nn import (
    ChannelShuffle,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
