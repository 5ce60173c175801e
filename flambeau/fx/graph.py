"""torch.fx.graph."""

import fx.graph as _source
from fx.graph import Graph
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
