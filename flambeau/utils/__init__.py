"""torch.utils.

data/          datasets, samplers, loaders
checkpoint.py  recompute in the backward what the forward does not keep
_pytree.py     trees of Python containers
hooks.py       the handle that removes a hook
dlpack.py      memory shared with other libraries
model_zoo.py   the older name of torch.hub
"""

from flambeau.missing import lookup
from flambeau.utils import _pytree, checkpoint, data, dlpack, hooks, model_zoo

__getattr__ = lookup(__name__)
