"""torch.fx.proxy."""

import fx.proxy as _source
from flambeau.missing import lookup
from fx.proxy import Attribute, Proxy, TraceError

__getattr__ = lookup(__name__, _source)
