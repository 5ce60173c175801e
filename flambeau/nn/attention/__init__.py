"""torch.nn.attention: the choice of attention kernels. flambeau has one, so a choice that allows it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from flambeau.missing import lookup


class SDPBackend(Enum):
    """Kernels of scaled dot product attention by torch's names."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """Within it, only these kernels. Raises RuntimeError unless MATH, or no kernel at all, is among them."""
    chosen = list(backends) if isinstance(backends, (list, tuple, set)) else [backends]
    if chosen and SDPBackend.MATH not in chosen:
        raise RuntimeError("No available kernel. flambeau computes attention on the CPU: allow SDPBackend.MATH")
    yield


__getattr__ = lookup(__name__)
