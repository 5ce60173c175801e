"""torch.fx.passes.shape_prop."""

import fx.passes.shape as _source
from flambeau.missing import lookup
from fx.passes.shape import ShapeProp, TensorMetadata

__getattr__ = lookup(__name__, _source)
