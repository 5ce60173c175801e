"""torch.nn.utils.stateless: calling a module with other parameters than its own."""

from eager.nn.stateless import functional_call
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
