"""torch.masked: the operators that are registered as `masked_NAME` and take a `mask`."""

from typing import Any

from eager.registry import registry
from flambeau.missing import lookup

_lookup = lookup(__name__)
_OTHERS = ("fill", "scatter", "select")  # Tensor.masked_fill and its like are no reductions


def __getattr__(name: str) -> Any:
    found = None if name in _OTHERS else registry.get(f"masked_{name}")
    return _lookup(name) if found is None else found
