"""Mixed precision under its older name: `torch.cuda.amp`."""

from __future__ import annotations

from typing import Any

from flambeau import amp as _amp
from flambeau.amp import GradScaler as _GradScaler
from flambeau.missing import lookup


class autocast(_amp.autocast):
    """`autocast("cuda", …)`."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True):
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(_GradScaler):
    """`GradScaler("cuda", …)`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("cuda", *args, **kwargs)


custom_fwd, custom_bwd = _amp.custom_fwd, _amp.custom_bwd
__getattr__ = lookup(__name__)
