"""torch.ao: of quantization, the marks that models carry."""

from flambeau.ao import quantization
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
