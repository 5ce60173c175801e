"""torch.nn.utils.rnn: sequences of different lengths, padded and packed."""

import eager.nn.sequence as _sequence
from eager.nn.sequence import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _sequence)
