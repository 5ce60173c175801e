"""torch.nn.parameter."""

import eager.nn.parameter as _parameter
from eager.nn.parameter import Buffer, Parameter
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _parameter)
