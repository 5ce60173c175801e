"""torch.optim.lr_scheduler: schedules of the learning rate."""

import eager.optim.annealing as _annealing
import eager.optim.scheduler as _scheduler
from eager.optim.annealing import *
from eager.optim.scheduler import *
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _scheduler, _annealing)
