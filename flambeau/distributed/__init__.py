"""torch.distributed: not part of flambeau. `is_available` says so, and everything else is missing, as in a torch built without it."""

from enum import Enum

from flambeau.missing import lookup


class ReduceOp(Enum):
    """Names of reductions, which code uses as defaults."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)


def is_available() -> bool:
    return False


def is_initialized() -> bool:
    return False


def is_torchelastic_launched() -> bool:
    return False


__getattr__ = lookup(__name__)
