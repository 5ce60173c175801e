"""torch.cuda on a machine where flambeau computes on the CPU: it says so, as torch does where there is no GPU.

amp.py  autocast and GradScaler under their older names
"""

from __future__ import annotations

from typing import Any, NoReturn

from eager.construct import LEGACY_TYPES
from flambeau.cuda import amp
from flambeau.missing import lookup


def is_available() -> bool:
    """False: flambeau has no CUDA backend (yet)."""
    return False


def device_count() -> int:
    return 0


def is_initialized() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def init() -> NoReturn:
    raise RuntimeError("flambeau computes on the CPU here: no CUDA device is available")


def _no_device(*args: Any, **kwargs: Any) -> NoReturn:
    init()


current_device = set_device = synchronize = current_stream = get_device_name = _no_device
get_device_properties = get_device_capability = mem_get_info = _no_device


def manual_seed(seed: int) -> None:
    """Nothing to seed; ignored without a device, as in torch."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed; ignored without a device, as in torch."""


def empty_cache() -> None:
    """There is no cache without a device."""


def ipc_collect() -> None:
    """There is nothing to collect without a device."""


def memory_allocated(device: Any = None) -> int:
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """There is no memory to count without a device."""


def get_rng_state_all() -> list:
    """The states of all devices: none."""
    return []


class _LegacyType(type):
    """`torch.cuda.FloatTensor` and its like: no tensor is one, and none can be made."""

    def __instancecheck__(cls, value: Any) -> bool:
        return False

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        init()


for _name in LEGACY_TYPES:
    globals()[_name] = _LegacyType(_name, (), {"__module__": "torch.cuda"})

__getattr__ = lookup(__name__)
