"""torch.fx.graph_module."""

import fx.graph_module as _source
from fx.graph_module import GraphModule
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
