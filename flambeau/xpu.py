"""torch.xpu: no such device here."""

from flambeau.missing import lookup


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


__getattr__ = lookup(__name__)
