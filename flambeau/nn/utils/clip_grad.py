"""torch.nn.utils.clip_grad: gradients kept within a norm or a value."""

import eager.nn.clip as _clip
from eager.nn.clip import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from flambeau.missing import lookup

__getattr__ = lookup(__name__, _clip)
