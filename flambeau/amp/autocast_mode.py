"""torch.amp.autocast_mode."""

from flambeau.amp import autocast, custom_bwd, custom_fwd, is_autocast_available
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
