"""torch.fx.interpreter."""

import fx.interpreter as _source
from fx.interpreter import Interpreter
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
