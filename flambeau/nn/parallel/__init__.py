"""torch.nn.parallel: flambeau runs in one process on one device, so there is nothing to spread a module over."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from flambeau.missing import lookup


class DataParallel(Module):
    """The module itself: with no device to spread over it is called as it is, as in PyTorch. Raises RuntimeError for `device_ids`."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0):
        super().__init__()
        if device_ids:
            raise RuntimeError(f"flambeau computes on the CPU: there are no devices {device_ids}")
        self.module, self.dim = module, dim
        self.device_ids: list = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


class DistributedDataParallel(Module):
    """There for `isinstance`; raises RuntimeError when made."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise RuntimeError("flambeau does not have DistributedDataParallel (yet): it runs in one process")


__getattr__ = lookup(__name__)
