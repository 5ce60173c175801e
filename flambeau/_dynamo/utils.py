"""torch._dynamo.utils."""

from typing import Any

from flambeau.missing import lookup


def is_compile_supported(device_type: Any) -> bool:
    """Whether `compile` works for a device: for the CPU."""
    return str(device_type) == "cpu"


__getattr__ = lookup(__name__)
