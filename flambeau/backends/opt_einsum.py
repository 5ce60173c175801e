"""torch.backends.opt_einsum: not part of flambeau; contractions are done from left to right."""

from flambeau.missing import lookup

enabled = False
strategy = None


def is_available() -> bool:
    return False


__getattr__ = lookup(__name__)
