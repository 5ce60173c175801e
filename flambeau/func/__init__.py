"""torch.func: functions of functions.

    vectorize     vmap: a function of samples becomes one of batches
    derivative    grad, vjp, jvp, jacobians, Hessians
    state         models as functions of their parameters
"""

from eager.nn.stateless import functional_call
from flambeau.func.derivative import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
)
from flambeau.func.state import replace_all_batch_norm_modules_, stack_module_state
from flambeau.func.vectorize import vmap
from flambeau.missing import lookup

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "replace_all_batch_norm_modules_",
    "stack_module_state", "vjp", "vmap",
]  # fmt: skip

__getattr__ = lookup(__name__)
