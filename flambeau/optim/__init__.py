"""torch.optim: optimizers and schedules of the learning rate.

optimizer.py, lr_scheduler.py, swa_utils.py and one file per family   torch's paths to them
"""

import eager.optim as _optim
from eager.optim import *
from flambeau.missing import lookup
from flambeau.optim import lr_scheduler, optimizer

__getattr__ = lookup(__name__, _optim)
