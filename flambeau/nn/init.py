"""torch.nn.init: first values of parameters."""

import eager.nn.init as _init
from eager.nn.init import *
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _init)
