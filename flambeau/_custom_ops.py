"""torch._custom_ops: an older path of torch.library."""

from flambeau.missing import lookup

__getattr__ = lookup(__name__)
