"""torch.fx.interpreter."""

import fx.interpreter as _source
from flambeau.missing import lookup
from fx.interpreter import Interpreter

__getattr__ = lookup(__name__, _source)
