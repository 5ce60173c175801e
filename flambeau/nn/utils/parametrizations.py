"""torch.nn.utils.parametrizations: weight and spectral normalization."""

from eager.nn.parametrization import spectral_norm, weight_norm
from flambeau.missing import lookup
from flambeau.nn.utils.orthogonal import orthogonal

__getattr__ = lookup(__name__)
