"""torch.fx.proxy."""

import fx.proxy as _source
from fx.proxy import Attribute, Proxy, TraceError
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
