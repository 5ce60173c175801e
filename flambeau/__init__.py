"""flambeau: PyTorch 2's compiler stack in readable Python. `import flambeau as torch`, then `torch.compile(model)`.

The roof: it re-exports what the floors below make, under torch's names, and registers backends by name. What flambeau does not have
raises an AttributeError that names it. In the order in which a program meets them:

neighbours.py       the packages below are the roof's own, or an ImportError says which file shadows them
version.py          flambeau's version, and the version of torch's API that it follows
alias.py            `with alias("torch")`: source that says `import torch` runs on flambeau
__main__.py         `python -m flambeau run script.py`
missing.py          the AttributeError for what is not here
_VF.py              torch._VF: operators with the parameters of torch.NAME
questions.py        what a tensor is, what may be cast; debugging modes
control.py          `cond` and `while_loop`
settings.py         defaults, threads, determinism: what a program sets once
operators.py        torch.ops
compiler.py         `compile`, `explain`, and torch.compiler
library.py          operators that a program registers
autograd/, func/, testing/, nn/, optim/, fx/, signal/, utils/, amp/, jit/, cuda/, backends/, distributed/   torch's modules of these names
serialization.py, hub.py, overrides.py, random.py, types.py, linalg.py, special.py, masked.py, fft.py, storage.py   likewise
accelerator.py, xpu.py, mps.py, multiprocessing/, onnx/, ao/, distributions/, _C.py, _dynamo/   the little of these that libraries touch
optimized.py        what `compile(module)` gives
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
from typing import TYPE_CHECKING, Any

from flambeau import neighbours

neighbours.check()

if TYPE_CHECKING:  # at run time they come from the registry, below
    from eager.ops.activation import *
    from eager.ops.attention import *
    from eager.ops.convolution import *
    from eager.ops.creation import *
    from eager.ops.embedding import *
    from eager.ops.indexing import *
    from eager.ops.joining import *
    from eager.ops.linalg import *
    from eager.ops.normalization import *
    from eager.ops.pointwise import *
    from eager.ops.random import *
    from eager.ops.reduction import *
    from eager.ops.scan import *
    from eager.ops.sorting import *
    from eager.ops.splitting import *
    from eager.ops.statistics import *
    from eager.ops.view import *
    from eager.ops.windows import *

from eager import Tensor
from eager import dtype as _dtypes
from eager.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from eager.autograd import is_inference_mode_enabled as is_inference_mode_enabled
from eager.construct import (
    LEGACY_TYPES,
    as_tensor,
    from_dlpack,
    from_numpy,
    frombuffer,
    tensor,
)
from eager.device import device
from eager.dtype import (
    bfloat16,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    result_type,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from eager.dtype import promote as promote_types
from eager.formatting import set_printoptions
from eager.registry import registry
from eager.serialization import load, save
from eager.shape import Size
from eager.shape import common_shape as broadcast_shapes
from flambeau import (
    _C,
    _VF,
    accelerator,
    amp,
    autograd,
    backends,
    compiler,
    cuda,
    distributed,
    fft,
    functional,
    fx,
    hub,
    jit,
    library,
    linalg,
    masked,
    mps,
    multiprocessing,
    nn,
    optim,
    overrides,
    random,
    serialization,
    signal,
    special,
    storage,
    types,
    utils,
    version,
    xpu,
)
from flambeau._VF import (
    alpha_dropout_,
    batch_norm,
    detach_,
    dropout_,
    embedding,
    embedding_renorm_,
    feature_alpha_dropout_,
    feature_dropout_,
    group_norm,
    instance_norm,
    layer_norm,
    rrelu_,
)
from flambeau.alias import alias
from flambeau.amp import GradScaler, autocast
from flambeau.compiler import compile, explain
from flambeau.control import cond, while_loop
from flambeau.missing import lookup
from flambeau.operators import ops  # type: ignore[assignment]
from flambeau.questions import (
    asarray,
    binomial,
    can_cast,
    from_file,
    get_deterministic_debug_mode,
    get_device,
    has_lapack,
    has_mkl,
    has_openmp,
    has_spectral,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_conj,
    is_deterministic_algorithms_warn_only_enabled,
    is_distributed,
    is_neg,
    is_same_size,
    is_signed,
    is_warn_always_enabled,
    range,
    set_anomaly_enabled,
    set_deterministic_debug_mode,
    set_flush_denormal,
    set_warn_always,
    sym_float,
    sym_int,
    sym_ite,
    sym_max,
    sym_min,
    sym_not,
    sym_sqrt,
    sym_sum,
)
from flambeau.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from flambeau.settings import (  # type: ignore[assignment]
    _assert,
    are_deterministic_algorithms_enabled,
    channels_last,
    channels_last_3d,
    contiguous_format,
    get_default_device,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    is_complex,
    is_floating_point,
    is_nonzero,
    is_storage,
    is_tensor,
    layout,
    memory_format,
    numel,
    preserve_format,
    set_default_device,
    set_default_tensor_type,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_num_threads,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
    typename,
    use_deterministic_algorithms,
)
from flambeau.version import __version__

for _kind in _dtypes._BY_NAME.values():
    for _name in (_kind.name, *_kind.aliases):
        globals()[_name] = _kind

globals().update(LEGACY_TYPES)
# Their torch.NAME takes its parameters in another order than the operator, which has the order of torch.nn.functional.
_OTHER_ORDER = frozenset({"batch_norm", "embedding", "embedding_bag", "group_norm", "instance_norm", "layer_norm"})
for _name, _operator in registry.items():
    if not _name.startswith("_") and _name not in _OTHER_ORDER:
        globals().setdefault(_name, _operator)

pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None
concat = concatenate = globals().get("cat")
resize_as_, as_strided_ = Tensor.resize_as_, Tensor.as_strided_  # type: ignore[attr-defined]

_lookup = lookup(__name__)
# Packages that are imported when they are first asked for.
_LATER = frozenset({"distributions", "func", "functional", "testing"})


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return _importlib.import_module(f"{__name__}.{name}")
    if name == "vmap":
        return _importlib.import_module(f"{__name__}.func").vmap
    operator = None if name.startswith("__") or name in _OTHER_ORDER else registry.get(name)  # one that a program registered later
    return _lookup(name) if operator is None else operator
