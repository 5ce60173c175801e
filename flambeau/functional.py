"""torch.functional: the path under which older programs import some of torch's functions."""

from eager.registry import registry
from eager.shape import broadcast_shapes
from flambeau.missing import lookup

_NAMES = (
    "atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors cartesian_prod cdist einsum meshgrid norm split stft tensordot unique"
    " unique_consecutive unravel_index"
).split()
globals().update({name: registry[name] for name in _NAMES if name in registry})

__getattr__ = lookup(__name__)
