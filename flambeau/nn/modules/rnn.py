"""torch.nn.modules.rnn."""

import eager.nn as _nn
from eager.nn import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    RNNBase,
    RNNCell,
    RNNCellBase,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _nn)
