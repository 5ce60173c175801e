"""Are two results the same? A result is what a call gave, or the exception that it raised; `Difference` says what differs first."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eager.tensor import Tensor
from tests.sweep.convert import Missing, Unconvertible, array

# torch.testing.assert_close's own, per dtype: relative, absolute
TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}


class Difference(Exception):
    """What differs: `check` is the kind (dtype, shape, values, view, strides, error), the message says how."""

    def __init__(self, check: str, message: str):
        super().__init__(message)
        self.check = check


def attempt(call: Callable[[], Any]) -> Any:
    """What a call gives, or the exception that it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except (Missing, Unconvertible, TimeoutError):
        raise
    except Exception as error:
        if "flambeau does not have" in str(error):
            raise Missing(str(error)) from None
        return error


def line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text[:160]}"


def same_error(mine: Any, theirs: BaseException) -> None:
    """flambeau's exception must be of torch's class, or of a class below it; NotImplementedError counts only as itself."""
    if not isinstance(mine, BaseException):
        raise Difference("error", f"accepted what torch refuses with {line(theirs)}")
    names = [c.__name__.lstrip("_") for c in type(mine).__mro__]
    wanted = type(theirs).__name__.lstrip("_")
    if wanted not in names or (isinstance(mine, NotImplementedError) and wanted != "NotImplementedError"):
        raise Difference("error", f"{line(mine)}; torch: {line(theirs)}")


def tensors(result: Any, kind: type) -> list[Any]:
    if isinstance(result, kind):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [t for r in result for t in tensors(r, kind)]
    return []


def same(mine: Any, theirs: Any, precise: Callable[[], Any] | None = None, values: bool = True) -> None:
    """Raises Difference. `precise` gives torch's result in double precision: where flambeau and torch round differently, flambeau
    must be as near to that as torch is."""
    if isinstance(theirs, BaseException):
        return same_error(mine, theirs)
    if isinstance(mine, BaseException):
        raise Difference("raises", f"{line(mine)}")
    try:
        _same(mine, theirs, values)
    except Difference as difference:
        if difference.check != "values" or precise is None:
            raise
        truth = attempt(precise)
        if isinstance(truth, BaseException):
            raise difference from None
        parts = zip(tensors(mine, Tensor), tensors(theirs, torch.Tensor), tensors(truth, torch.Tensor), strict=True)
        if not all(_as_near(m, t, p) for m, t, p in parts):
            raise difference from None


def _same(mine: Any, theirs: Any, values: bool) -> None:
    if isinstance(theirs, torch.Tensor):
        if not isinstance(mine, Tensor):
            raise Difference("type", f"{type(mine).__name__} instead of a tensor")
        return same_tensor(mine, theirs, values)
    if isinstance(theirs, dict):
        mine, theirs = list(mine.values()), list(theirs.values())
    if isinstance(theirs, tuple | list):
        if not isinstance(mine, tuple | list) or len(mine) != len(theirs):
            raise Difference("type", f"{type(mine).__name__} instead of {type(theirs).__name__} of {len(theirs)}")
        fields = getattr(theirs, "_fields", None) or [f for f in dir(theirs) if type(theirs).__module__ == "torch.return_types" and f in _FIELDS]
        lacking = [f for f in fields if not hasattr(mine, f)]
        if lacking:
            raise Difference("type", f"the result has no field {lacking[0]}")
        for m, t in zip(mine, theirs):
            _same(m, t, values)
        return
    if isinstance(theirs, torch.dtype | torch.device):
        mine, theirs = str(mine), str(theirs)
    if isinstance(theirs, float | complex) and not isinstance(mine, str | None):
        if not np.isclose(mine, theirs, rtol=1e-5, equal_nan=True):
            raise Difference("values", f"{mine} instead of {theirs}")
        return
    if mine != theirs and values:
        raise Difference("values", f"{mine!r} instead of {theirs!r}"[:200])


_FIELDS = frozenset(
    "values indices sign logabsdet logdet mantissa exponent Q R U S Vh V L LU LD pivots info eigenvalues eigenvectors solution"
    " residuals rank singular_values hist bin_edges min max inverse P X result".split()
)


def same_tensor(mine: Tensor, theirs: torch.Tensor, values: bool) -> None:
    if str(mine.dtype) != str(theirs.dtype):
        raise Difference("dtype", f"{mine.dtype} instead of {theirs.dtype}")
    if tuple(mine.shape) != tuple(theirs.shape):
        raise Difference("shape", f"{tuple(mine.shape)} instead of {tuple(theirs.shape)}")
    if not values:
        return
    a, b = np.asarray(mine._array), array(theirs)
    if theirs.dtype in TOLERANCES:
        relative, absolute = TOLERANCES[theirs.dtype]
        if theirs.dtype is torch.bfloat16:
            a, b = a.astype(np.float32), b.astype(np.float32)
        close = np.isclose(a, b, relative, absolute, equal_nan=True)
    else:
        close = a == b
    if not np.all(close):
        at = tuple(int(i) for i in np.argwhere(~np.asarray(close))[0])
        count = int((~np.asarray(close)).sum())
        raise Difference("values", f"{a[at]} instead of {b[at]} at {at} of {tuple(theirs.shape)}, {count} values differ")


def _as_near(mine: Tensor, theirs: torch.Tensor, truth: torch.Tensor) -> bool:
    if theirs.dtype not in TOLERANCES or theirs.dtype in (torch.float64, torch.complex128):
        return attempt(lambda: same_tensor(mine, theirs, True)) is None
    wide = np.complex128 if theirs.is_complex() else np.float64
    a, b, c = (x.astype(wide) for x in (np.asarray(mine._array), array(theirs), array(truth)))
    if not all(np.array_equal(np.isfinite(a), np.isfinite(x)) for x in (b, c)):
        return False
    finite = np.isfinite(a)
    if not np.array_equal(np.nan_to_num(a[~finite], nan=0.5), np.nan_to_num(b[~finite], nan=0.5)):
        return False
    relative, absolute = TOLERANCES[theirs.dtype]
    allowed = np.abs(b - c) + relative * np.abs(c) + absolute
    worst = float(np.max(np.abs(b - c)[finite], initial=0.0))
    return bool(np.all((np.abs(a - c) <= np.maximum(allowed, 2 * worst))[finite]))


def same_memory(mine: Any, theirs: Any, my_inputs: list[Tensor], their_inputs: list[torch.Tensor]) -> None:
    """Views are views of the same inputs with the same strides; copies are copies."""
    for m, t in zip(tensors(mine, Tensor), tensors(theirs, torch.Tensor)):
        if t.numel() == 0 or t.layout is not torch.strided:
            continue
        shared = [m.untyped_storage() is x.untyped_storage() for x in my_inputs]
        wanted = [t.untyped_storage()._cdata == x.untyped_storage()._cdata for x in their_inputs]
        if shared != wanted:
            raise Difference("view", f"{'a view' if any(shared) else 'a copy'} instead of {'a view' if any(wanted) else 'a copy'}")
        steps = [[s for s, n in zip(x.stride(), x.shape) if n > 1] for x in (m, t)]
        if any(wanted) and steps[0] != steps[1]:
            raise Difference("strides", f"strides {m.stride()} instead of {t.stride()}")


def same_distribution(mine: Callable[[], Any], theirs: Callable[[], Any], draws: int = 200) -> None:
    """Types and shapes agree, and so do the pooled values of many calls, by the statistic of Kolmogorov and Smirnov."""
    pools = []
    for call, kind in ((mine, Tensor), (theirs, torch.Tensor)):
        found = [tensors(call(), kind) for _ in range(draws)]
        arrays = [[t._array if kind is Tensor else array(t) for t in result] for result in found]
        pools.append([np.concatenate([np.ravel(a).astype(np.complex128).real for a in parts]) for parts in zip(*arrays)])
    for a, b in zip(*pools, strict=True):
        if not a.size or not np.all(np.isfinite(b)):
            continue
        a, b = np.sort(np.round(a, 6)), np.sort(np.round(b, 6))
        if a.size == b.size and np.allclose(a, b, 1e-5, 1e-5):
            continue  # not drawn at all: torch's rounding depends on where its memory lies
        points = np.concatenate([a, b])
        gap = np.abs(np.searchsorted(a, points, "right") / a.size - np.searchsorted(b, points, "right") / b.size).max()
        if gap > 2.5 * np.sqrt((a.size + b.size) / (a.size * b.size)):
            quartiles = [np.quantile(x, [0.25, 0.5, 0.75]) for x in (a, b)]
            raise Difference("values", f"another distribution: quartiles {quartiles[0]} instead of {quartiles[1]}")
