"""torch.distributions: of it, only the constraints (yet)."""

from flambeau.distributions import constraints
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
