"""torch.storage: the memory that tensors share."""

from eager.storage import Storage
from flambeau.missing import lookup

UntypedStorage = Storage
__getattr__ = lookup(__name__)
