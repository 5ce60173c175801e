"""torch.linalg: the operators that are registered as `linalg_NAME`."""

from typing import Any

from eager.lapack import LinAlgError as LinAlgError
from eager.registry import registry
from flambeau.missing import lookup

_lookup = lookup(__name__)


def __getattr__(name: str) -> Any:
    found = registry.get(f"linalg_{name}")
    return _lookup(name) if found is None else found
