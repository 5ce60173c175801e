"""Optimizers and learning rate schedules.

optimizer.py   Optimizer: parameter groups, state, hooks, saving; runs one update per parameter
blocks.py      elementwise updates in blocks that stay in the cache
sgd.py         SGD and its averaged form ASGD
adam.py        Adam, AdamW, Adamax, NAdam, RAdam
rmsprop.py     RMSprop and Rprop
adagrad.py     Adagrad and Adadelta
adafactor.py   Adafactor
muon.py        Muon
lbfgs.py       LBFGS
averaging.py   averages of a model over its training, and their schedule
scheduler.py   the schedules of the learning rate: LRScheduler and all that derive from it
annealing.py   schedules that go up and down: cosine restarts, cyclic, one cycle
"""

from eager.optim import scheduler as lr_scheduler
from eager.optim.adafactor import Adafactor
from eager.optim.adagrad import Adadelta, Adagrad
from eager.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from eager.optim.lbfgs import LBFGS
from eager.optim.muon import Muon
from eager.optim.optimizer import Optimizer
from eager.optim.rmsprop import RMSprop, Rprop
from eager.optim.sgd import ASGD, SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "lr_scheduler",
]
