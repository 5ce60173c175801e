"""torch.autograd.function: custom functions."""

import eager.function as _function
from eager.function import Context, Function, once_differentiable
from flambeau.missing import lookup

FunctionCtx = Context
__getattr__ = lookup(__name__, _function)
