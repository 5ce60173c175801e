"""torch.nn.modules.batchnorm."""

import eager.nn as _nn
from eager.nn import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
    SyncBatchNorm,
)
from eager.nn.normalization import _BatchNorm
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
