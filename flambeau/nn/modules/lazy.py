"""torch.nn.modules.lazy."""

import eager.nn as _nn
from eager.nn.lazy import LazyModuleMixin
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
