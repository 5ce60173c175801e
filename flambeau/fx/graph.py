"""torch.fx.graph."""

import fx.graph as _source
from flambeau.missing import lookup
from fx.graph import Graph

__getattr__ = lookup(__name__, _source)
