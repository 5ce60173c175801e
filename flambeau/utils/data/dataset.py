"""torch.utils.data.dataset."""

import eager.data as _data
from eager.data import *
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _data)
