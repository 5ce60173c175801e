"""torch.signal.windows: the operators that are registered as `signal_windows_NAME`."""

from typing import Any

from eager.registry import registry
from flambeau.missing import lookup

_lookup = lookup(__name__)


def __getattr__(name: str) -> Any:
    found = registry.get(f"signal_windows_{name}")
    return _lookup(name) if found is None else found
