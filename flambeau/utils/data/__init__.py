"""torch.utils.data: datasets, samplers, loaders.

dataset.py, sampler.py, dataloader.py, distributed.py   torch's paths to them
"""

import eager.data as _data
from eager.data import *
from flambeau.missing import lookup
from flambeau.utils.data import dataloader, dataset, distributed, sampler

__getattr__ = lookup(__name__, _data)
