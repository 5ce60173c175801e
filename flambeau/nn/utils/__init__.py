"""torch.nn.utils: clipping gradients, parameters as one vector, folding normalization, sequences, parametrizations.

orthogonal.py, spectral_norm.py, init.py   weights that are kept orthogonal or of norm one; modules without values
prune.py     parameters with elements left out
clip_grad.py, convert_parameters.py, fusion.py, rnn.py, parametrize.py, parametrizations.py, stateless.py   torch's files
"""

from eager.nn.clip import clip_grad_norm, clip_grads_with_norm_
from flambeau.missing import lookup
from flambeau.nn.utils import (
    clip_grad,
    convert_parameters,
    fusion,
    parametrizations,
    parametrize,
    prune,
    rnn,
    stateless,
)
from flambeau.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_, get_total_norm
from flambeau.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from flambeau.nn.utils.fusion import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from flambeau.nn.utils.init import skip_init
from flambeau.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from flambeau.nn.utils.weight_norm import remove_weight_norm, weight_norm

__getattr__ = lookup(__name__)
