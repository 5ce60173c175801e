"""torch.nn.parallel: flambeau runs in one process on one device. The classes are there for `isinstance`; making one raises."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from flambeau.missing import lookup


class DataParallel(Module):
    """Raises RuntimeError when made."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise RuntimeError(f"flambeau does not have {type(self).__name__} (yet): it runs in one process on one device")


class DistributedDataParallel(DataParallel):
    """Raises RuntimeError when made."""


__getattr__ = lookup(__name__)
