"""torch.utils.

data/          datasets, samplers, loaders
checkpoint.py  recompute in the backward what the forward does not keep
_pytree.py     trees of Python containers
model_zoo.py   the older name of torch.hub
"""

from flambeau.missing import lookup
from flambeau.utils import _pytree, checkpoint, data, model_zoo

__getattr__ = lookup(__name__)
