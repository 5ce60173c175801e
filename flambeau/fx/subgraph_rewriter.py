"""torch.fx.subgraph_rewriter."""

import fx.rewriter as _source
from flambeau.missing import lookup
from fx.rewriter import Match, replace_pattern, replace_pattern_with_filters

__getattr__ = lookup(__name__, _source)
