"""torch.nn: modules, parameters, and functions over them.

functional.py, init.py, parameter.py, common_types.py   torch's modules of these names
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
from flambeau.nn import attention, common_types, functional, init, modules, parallel, parameter, utils

__getattr__ = lookup(__name__, _nn)
