"""torch.amp.grad_scaler."""

from flambeau.amp import GradScaler
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
