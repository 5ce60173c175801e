"""torch.fx.passes.shape_prop."""

import fx.passes.shape as _source
from fx.passes.shape import ShapeProp, TensorMetadata
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _source)
