"""torch.optim.sgd."""

import eager.optim as _optim
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _optim)
