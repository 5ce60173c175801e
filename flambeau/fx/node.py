"""torch.fx.node."""

import fx.node as _source
from flambeau.missing import lookup
from fx.node import Node, has_side_effect, map_aggregate, map_arg

__getattr__ = lookup(__name__, _source)
