"""torch.fx._symbolic_trace."""

import fx.tracer as _source
from fx.tracer import Tracer, symbolic_trace, wrap
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
