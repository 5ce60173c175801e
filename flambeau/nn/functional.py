"""torch.nn.functional."""

import eager.nn.functional as _functional
from eager.nn.functional import *
from eager.ops.native import conv_tbc, native_channel_shuffle
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _functional)
