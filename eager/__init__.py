"""Tensors now: operators, Tensor, autograd, nn, optim, data, serialization.

    dtype, device, shape, spec, storage    what describes a tensor
    registry, dispatch                     operators by name; the stack of interpreters
    algebra, blocks, selection             the scalar primitives of pointwise bodies, over NumPy; in blocks; sums
    tensor, fake, construct, formatting    Tensor, tensors without values, making tensors, printing them
    autograd, function, gradcheck          recording and running backwards; custom functions; numerical checks
    node, recording, whole                 what is recorded; recording it; composites recorded as one
    packing, mode                          hooks on what nodes save; whether gradients are recorded
    op, call, outputs                      the kinds of operators; the functions that call them; types of `out=`
    batching/                              operators over a hidden batch dimension
    lapack, bunch                          matrices for NumPy's LAPACK; Bunch and Kaufman's factorization
    ops/                                   the operators
    rng, threads                           Philox random numbers; the thread budget, and large work shared
    nn/, optim/, data/, serialization/     modules, optimizers, data loading, files
"""

import warnings as _warnings

# Infinities and NaN are results here, as in PyTorch, and NumPy's warnings about them would come from these files.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"eager\.")

# in this order: operators attach themselves to tensors
import eager.op  # noqa: E402,F401  # isort: skip
import eager.ops  # noqa: E402,F401  # isort: skip
import eager.construct  # noqa: E402,F401  # isort: skip
from eager.tensor import Tensor  # noqa: E402

__all__ = ["Tensor"]
