"""torch.amp. Mixed precision is not here (yet): autocast that is switched off does nothing, switched on for the CPU it raises; for a
device that is not there it warns and stays off, as torch does."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from flambeau.missing import lookup


class autocast:
    """A context or decorator. Raises RuntimeError if it would have to change types."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        self.device, self.fast_dtype = str(device_type), dtype
        self._enabled = False
        if not enabled:
            return
        if self.device == "cpu":
            raise RuntimeError(
                "flambeau does not have autocast on the CPU (yet): convert the model with .to(torch.bfloat16), or pass enabled=False"
            )
        warnings.warn(
            f"User provided device_type of '{self.device}', but it is not available. Disabling",
            UserWarning,
            stacklevel=2,
        )

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, func: Callable) -> Callable:
        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return inside


class GradScaler:
    """Without a CUDA device the scaler is disabled, as in torch: the scale is 1 and `step` is the optimizer's."""

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if enabled:
            warnings.warn("GradScaler is enabled, but no such device is available. Disabling.", UserWarning, stacklevel=2)

    def is_enabled(self) -> bool:
        return False

    def get_scale(self) -> float:
        return 1.0

    def scale(self, outputs: Any) -> Any:
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        return None

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        return None

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        return None


def custom_fwd(fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Any:
    """The function unchanged: autocast, which it would answer to, is never on."""
    return fwd if fwd is not None else lambda fn: fn


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Any:
    """The function unchanged: autocast, which it would answer to, is never on."""
    return bwd if bwd is not None else lambda fn: fn


def is_autocast_available(device_type: str) -> bool:
    return False


__getattr__ = lookup(__name__)
