"""torch.accelerator: there is none here, and these functions say so."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.missing import lookup


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None: flambeau computes on the CPU."""
    return None


def _no_device(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available: flambeau computes on the CPU here")


current_device_index = set_device_index = synchronize = current_stream = _no_device

__getattr__ = lookup(__name__)
