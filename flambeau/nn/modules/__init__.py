"""torch.nn.modules: the modules of torch.nn, in the files where torch keeps them."""

import eager.nn as _nn
from eager.nn import *
from flambeau.missing import lookup

import flambeau.nn.modules.activation as activation  # isort: skip
import flambeau.nn.modules.adaptive as adaptive  # isort: skip
import flambeau.nn.modules.batchnorm as batchnorm  # isort: skip
import flambeau.nn.modules.channelshuffle as channelshuffle  # isort: skip
import flambeau.nn.modules.container as container  # isort: skip
import flambeau.nn.modules.conv as conv  # isort: skip
import flambeau.nn.modules.distance as distance  # isort: skip
import flambeau.nn.modules.dropout as dropout  # isort: skip
import flambeau.nn.modules.flatten as flatten  # isort: skip
import flambeau.nn.modules.fold as fold  # isort: skip
import flambeau.nn.modules.instancenorm as instancenorm  # isort: skip
import flambeau.nn.modules.lazy as lazy  # isort: skip
import flambeau.nn.modules.linear as linear  # isort: skip
import flambeau.nn.modules.loss as loss  # isort: skip
import flambeau.nn.modules.module as module  # isort: skip
import flambeau.nn.modules.normalization as normalization  # isort: skip
import flambeau.nn.modules.padding as padding  # isort: skip
import flambeau.nn.modules.pixelshuffle as pixelshuffle  # isort: skip
import flambeau.nn.modules.pooling as pooling  # isort: skip
import flambeau.nn.modules.rnn as rnn  # isort: skip
import flambeau.nn.modules.sparse as sparse  # isort: skip
import flambeau.nn.modules.transformer as transformer  # isort: skip
import flambeau.nn.modules.upsampling as upsampling  # isort: skip
import flambeau.nn.modules.utils as utils  # type: ignore[no-redef]  # isort: skip

__getattr__ = lookup(__name__, _nn)
