"""torch.fx.node."""

import fx.node as _source
from fx.node import Node, has_side_effect, map_aggregate, map_arg
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
