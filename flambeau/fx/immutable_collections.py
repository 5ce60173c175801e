"""torch.fx.immutable_collections."""

import fx.immutable as _source
from fx.immutable import immutable_dict, immutable_list
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
