"""torch.fx.immutable_collections."""

import fx.immutable as _source
from flambeau.missing import lookup
from fx.immutable import immutable_dict, immutable_list

__getattr__ = lookup(__name__, _source)
