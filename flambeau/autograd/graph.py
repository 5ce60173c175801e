"""torch.autograd.graph: the nodes that autograd records."""

import eager.autograd as _autograd
from eager.autograd import Node
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _autograd)
