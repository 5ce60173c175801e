"""Small questions of the `torch` namespace, and settings that a CPU has one answer to: what a tensor is, what may be cast, which
libraries are inside, how the debugging modes stand.
"""

from __future__ import annotations

import math
from typing import Any

from eager import dtype as dtypes
from eager.construct import as_tensor, tensor
from eager.node import anomaly
from eager.ops.creation import arange
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.settings import are_deterministic_algorithms_enabled, use_deterministic_algorithms

has_lapack, has_mkl, has_openmp, has_spectral = True, False, False, True
_warns = [False]


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:
    """The object as a tensor: sharing its memory (`copy=False`: or ValueError), or a copy (`copy=True`)."""
    made = as_tensor(obj, dtype=dtype, device=device)
    shares = made is obj or (not isinstance(obj, Tensor) and hasattr(obj, "__array_interface__") and _same_place(made, obj))
    if copy is False and not shares:
        raise ValueError("can't alias memory of the object: it is no tensor or array, or its type has to be converted")
    made = made.detach().clone() if copy and shares else made
    if requires_grad:
        return made.detach().requires_grad_()
    return made.detach() if made.requires_grad else made


def _same_place(made: Tensor, given: Any) -> bool:
    return made.data_ptr() == given.__array_interface__["data"][0]


def can_cast(from_: dtypes.dtype, to: dtypes.dtype) -> bool:
    """Whether the category of a type may be converted to that of another: bool < integer < floating < complex."""
    return from_.category <= to.category


def get_device(input: Tensor) -> int:
    """-1: on the CPU."""
    return input.get_device()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    return input.is_same_size(other)


def is_signed(input: Tensor) -> bool:
    return input.is_signed()


def is_conj(input: Tensor) -> bool:
    """False: what is conjugated is computed at once."""
    return False


def is_neg(input: Tensor) -> bool:
    """False: what is negated is computed at once."""
    return False


def is_distributed(input: Tensor) -> bool:
    return False


def range(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, **given: Any) -> Tensor:
    """Deprecated in torch: numbers up to `end`, which is one of them. Raises RuntimeError for steps that lead away from it."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = math.floor((end - start) / step) + 1
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    return (arange(count, dtype=dtypes.float64) * step + start).to(kind).requires_grad_(given.get("requires_grad", False))


def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """How many of `count` tries succeed, each with probability `prob`. Raises RuntimeError for a negative count."""
    if count.numel() == 0:
        return count.clone()
    if bool((count < 0).any()) or bool(((prob < 0) | (prob > 1)).any()):
        raise RuntimeError("binomial: counts must not be negative, and probabilities lie between 0 and 1")
    tries = ops.rand((int(count.max()), *count.shape), generator=generator, dtype=dtypes.float64)
    asked = ops.arange(len(tries)).reshape((-1,) + (1,) * count.ndim) < count
    return ((tries < prob) & asked).sum(0).to(count.dtype)


def from_file(filename: str, shared: bool | None = None, size: int = 0, *, dtype: Any = None, **given: Any) -> Tensor:
    """A tensor over the numbers in a file, which writes to it change if `shared`. Raises RuntimeError for a file that is too short."""
    import os

    import numpy as np

    kind = dtypes.get_default_dtype() if dtype is None else dtype
    need = size * kind.itemsize
    if shared and (not os.path.exists(filename) or os.path.getsize(filename) < need):
        with open(filename, "ab") as file:
            file.truncate(need)
    if os.path.getsize(filename) < need:
        raise RuntimeError(f"file {filename!r} has {os.path.getsize(filename)} bytes, {need} were asked for")
    if size == 0:
        return tensor([], dtype=kind)
    return Tensor._over(np.memmap(filename, kind.numpy, "r+" if shared else "c", 0, (size,)).view(np.ndarray))


# Modes


def is_anomaly_enabled() -> bool:
    return anomaly[0]


def is_anomaly_check_nan_enabled() -> bool:
    return anomaly[1]


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Anomaly mode of autograd, as `autograd.set_detect_anomaly`."""
    anomaly[:] = [bool(mode), bool(check_nan)]


def get_deterministic_debug_mode() -> int:
    """0, or 2 where deterministic algorithms are asked for."""
    return 2 if are_deterministic_algorithms_enabled() else 0


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """"default", "warn" or "error", or their numbers. Raises RuntimeError for others."""
    names = {"default": 0, "warn": 1, "error": 2}
    number = names.get(debug_mode, -1) if isinstance(debug_mode, str) else debug_mode
    if number not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected one of default, warn, error or 0, 1, 2, but got {debug_mode}")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """False: every algorithm here is deterministic, so there is nothing to warn about."""
    return False


def set_flush_denormal(mode: bool) -> bool:
    """False: NumPy keeps denormal numbers."""
    return False


def set_warn_always(b: bool) -> None:
    """Remembered; warnings here come through Python's module, which has filters."""
    _warns[0] = bool(b)


def is_warn_always_enabled() -> bool:
    return _warns[0]


# Numbers that may be symbolic sizes


def sym_int(a: Any) -> Any:
    """`int`, by rounding towards zero."""
    return math.trunc(a)


def sym_float(a: Any) -> Any:
    return float(a)


def sym_not(a: Any) -> Any:
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger; a float if either is one."""
    found = a if a >= b else b
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_min(a: Any, b: Any) -> Any:
    """The smaller; a float if either is one."""
    found = a if a <= b else b
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """One value or another."""
    return t if b else f


def sym_sqrt(a: Any) -> Any:
    return math.sqrt(a)


def sym_sum(args: Any) -> Any:
    return sum(args)
