"""torch.optim: optimizers and schedules of the learning rate.

optimizer.py, lr_scheduler.py, swa_utils.py and one file per family   torch's paths to them
"""

import eager.optim as _optim
from eager.optim import *
from flambeau.missing import lookup

import flambeau.optim.lr_scheduler as lr_scheduler  # type: ignore[no-redef]  # isort: skip
import flambeau.optim.optimizer as optimizer  # isort: skip
import flambeau.optim.swa_utils as swa_utils  # isort: skip

__getattr__ = lookup(__name__, _optim)
