"""torch.fx.passes."""

from flambeau.fx.passes import shape_prop
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
