"""torch.fft: the operators that are registered as `fft_NAME`."""

from typing import Any

from eager.registry import registry
from flambeau.missing import lookup

_lookup = lookup(__name__)
_KERNELS = ("complex", "real", "half")


def __getattr__(name: str) -> Any:
    found = registry.get(f"fft_{name}") if name not in _KERNELS else None
    return _lookup(name) if found is None else found
