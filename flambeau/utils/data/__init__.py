"""torch.utils.data: datasets, samplers, loaders.

dataset.py, sampler.py, dataloader.py, distributed.py   torch's paths to them
"""

import eager.data as _data
from eager.data import *
from flambeau.missing import lookup

import flambeau.utils.data.dataloader as dataloader  # isort: skip
import flambeau.utils.data.dataset as dataset  # isort: skip
import flambeau.utils.data.distributed as distributed  # isort: skip
import flambeau.utils.data.sampler as sampler  # isort: skip

__getattr__ = lookup(__name__, _data)
