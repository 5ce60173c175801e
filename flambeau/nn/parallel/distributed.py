"""torch.nn.parallel.distributed."""

from flambeau.missing import lookup
from flambeau.nn.parallel import DistributedDataParallel

__getattr__ = lookup(__name__)
