"""torch.nn: modules, parameters, and functions over them.

functional.py, init.py, parameter.py, common_types.py   torch's modules of these names
grad.py      gradients of convolutions as functions
modules/     the files in which torch keeps its modules
utils/       clipping, vectors of parameters, fusion
parallel/    refused: one process, one device
attention/   torch.nn.attention
"""

import eager.nn as _nn
from eager.nn import *
from eager.nn.module import Module
from eager.nn.parameter import Buffer, Parameter
from flambeau.missing import lookup

# not `from flambeau.nn import …`: the floor's modules of these names are here already, and would stay
import flambeau.nn.functional as functional  # type: ignore[no-redef]  # isort: skip
import flambeau.nn.init as init  # type: ignore[no-redef]  # isort: skip
import flambeau.nn.parameter as parameter  # isort: skip
import flambeau.nn.modules as modules  # isort: skip
import flambeau.nn.common_types as common_types  # isort: skip
import flambeau.nn.grad as grad  # isort: skip
import flambeau.nn.utils as utils  # type: ignore[no-redef]  # isort: skip
import flambeau.nn.parallel as parallel  # isort: skip
import flambeau.nn.attention as attention  # isort: skip

DataParallel = parallel.DataParallel

__getattr__ = lookup(__name__, _nn)
