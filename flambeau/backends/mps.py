"""torch.backends.mps: not part of flambeau."""

from flambeau.missing import lookup


def is_available() -> bool:
    return False


def is_built() -> bool:
    return False


__getattr__ = lookup(__name__)
