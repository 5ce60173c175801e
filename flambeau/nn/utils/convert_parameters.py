"""torch.nn.utils.convert_parameters: parameters as one vector, and back."""

import eager.nn.clip as _clip
from eager.nn.clip import parameters_to_vector, vector_to_parameters
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _clip)
