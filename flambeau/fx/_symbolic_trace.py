"""torch.fx._symbolic_trace."""

import fx.tracer as _source
from flambeau.missing import lookup
from fx.tracer import Tracer, symbolic_trace, wrap

__getattr__ = lookup(__name__, _source)
