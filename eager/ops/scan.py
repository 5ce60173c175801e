"""Running sums, products, extrema and differences along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.ops.reduction import place_gradient
from eager.results import named
from eager.shape import normalize_dim
from eager.spec import Spec


def _spec(input, dim, dtype=None):
    normalize_dim(dim, input.ndim)
    found = dtype or (dtypes.int64 if input.dtype.category < dtypes.FLOATING else input.dtype)
    return Spec(input.shape, found, input.device)


# What running sums are kept in, for their errors add up along the way.
_LONG: dict[Any, Any] = {np.dtype(np.float32): np.dtype(np.float64), np.dtype(np.complex64): np.dtype(np.complex128)}


def _accumulate(function: Any, input: np.ndarray, dim: int, dtype: Any) -> np.ndarray:
    d = normalize_dim(dim, input.ndim)
    want = (
        dtype.numpy
        if dtype is not None
        else np.dtype(np.int64)
        if input.dtype.kind in "iub"
        else input.dtype
    )
    half = want.itemsize == 2 and want.kind in "fV"
    array = input.astype(np.float32 if half else _LONG.get(want, want), copy=False)
    if input.ndim == 0:
        return array.astype(want)
    return np.ascontiguousarray(function.accumulate(array, axis=d)).astype(want, copy=False)


def _reversed(function: Any, input: Any, dim: int) -> Any:
    """A running operator from the end."""
    return ops.flip(function(ops.flip(input, (dim,)), dim), (dim,)) if input.ndim else input


def _front(call, *args, **kwargs):
    """With `out`, its type is the type to compute in."""
    if kwargs.get("out") is not None and kwargs.get("dtype") is None:
        kwargs["dtype"] = kwargs["out"].dtype
    return call(*args, **kwargs)


@extern(
    spec=_spec,
    front=_front,
    vjp=lambda g, out, input, dim, dtype: _reversed(ops.cumsum, g, dim),
    saves="",
    inplace=True,
)
def cumsum(input, dim, *, dtype=None):
    """Running sums."""
    return _accumulate(np.add, input, dim, dtype)


def _shifted(input: Any, dim: int, first: float) -> Any:
    """Elements moved one place up along a dimension, a number coming in at the start."""
    d = normalize_dim(dim, input.ndim)
    shape = tuple(1 if i == d else n for i, n in enumerate(input.shape))
    return ops.cat(
        [ops.full(shape, first, dtype=input.dtype), ops.narrow(input, d, 0, input.shape[d] - 1)], d
    )


def _recurrence_vjp(g, out, input, decay, dim):
    later = ops.flip(_shifted(ops.flip(ops.conj(decay), (dim,)), dim, 0.0), (dim,))
    slope = ops.flip(ops.recurrence(ops.flip(g, (dim,)), ops.flip(later, (dim,)), dim), (dim,))
    return slope, slope * ops.conj(_shifted(out, dim, 0.0))


@extern(
    spec=lambda input, decay, dim: Spec(input.shape, input.dtype, input.device),
    saves="decay out",
    method=False,
    joint=True,
    vjp=lambda g, out, needs, input, decay, dim: _recurrence_vjp(g, out, input, decay, dim),
)
def recurrence(input, decay, dim):
    """The linear recurrence `s[k] = decay[k] * s[k - 1] + input[k]` along a dimension, from 0."""
    result = input.copy()
    rows, factors = np.moveaxis(result, dim, 0), np.moveaxis(decay, dim, 0)
    for k in range(1, len(rows)):
        rows[k] += factors[k] * rows[k - 1]
    return result


def _cumprod_vjp(g, out, input, dim, dtype):
    # no division, so zeros do not matter: (product before k) * (g[k] + x[k+1] * (g[k+1] + x[k+2] *
    # …))
    if input.ndim == 0 or input.shape[normalize_dim(dim, input.ndim)] == 0:
        return g
    factors = ops.conj(input if input.dtype is g.dtype else ops.convert(input, g.dtype))
    back = ops.flip(factors, (dim,))
    tail = ops.flip(ops.recurrence(ops.flip(g, (dim,)), _shifted(back, dim, 0.0), dim), (dim,))
    return _shifted(ops.conj(out), dim, 1.0) * tail


@extern(spec=_spec, front=_front, vjp=_cumprod_vjp, saves="input out", inplace=True)
def cumprod(input, dim, *, dtype=None):
    """Running products."""
    return _accumulate(np.multiply, input, dim, dtype)


def _running(function: Any, input: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    if input.ndim == 0:
        return input.copy(), np.zeros((), np.int64)
    d = normalize_dim(dim, input.ndim)
    values = np.ascontiguousarray(function.accumulate(input, axis=d))
    fits = input == values
    if input.dtype.kind == "f":
        fits |= np.isnan(input)
    places = np.arange(input.shape[d]).reshape((-1,) + (1,) * (input.ndim - d - 1))
    return values, np.ascontiguousarray(np.maximum.accumulate(np.where(fits, places, 0), axis=d))


def _running_spec(input, dim):
    normalize_dim(dim, input.ndim)
    return Spec(input.shape, input.dtype, input.device), Spec(
        input.shape, dtypes.int64, input.device
    )


def _running_vjp(g, out, input, dim):
    return None if g[0] is None else place_gradient(g[0], out[1], input, dim, True)


_Cummax, _Cummin = named("cummax", "values indices"), named("cummin", "values indices")


@extern(
    spec=_running_spec,
    vjp=_running_vjp,
    saves="out1",
    front=lambda call, *a, **k: _Cummax(*call(*a, **k)),
    takes="ordered",
)
def cummax(input, dim):
    """The largest value so far, and its last index."""
    return _running(np.maximum, input, dim)


@extern(
    spec=_running_spec,
    vjp=_running_vjp,
    saves="out1",
    front=lambda call, *a, **k: _Cummin(*call(*a, **k)),
    takes="ordered",
)
def cummin(input, dim):
    """The smallest value so far, and its last index."""
    return _running(np.minimum, input, dim)


def _logcumsumexp_vjp(g, out, input, dim):
    # the sum over i >= k of g[i] * exp(input[k] - out[i]), from the end: every factor is at most 1
    if input.ndim == 0 or input.shape[normalize_dim(dim, input.ndim)] == 0:
        return g
    steps = ops.exp(_shifted(out, dim, float("-inf")) - out)  # exp(out[k - 1] - out[k])
    here = ops.exp(input - out)
    if input.is_complex():
        steps, here = ops.conj(steps), ops.conj(here)
    back = _shifted(ops.flip(steps, (dim,)), dim, 0.0)
    tail = ops.flip(ops.recurrence(ops.flip(g, (dim,)), back, dim), (dim,))
    return tail * here


def _logcumsumexp_spec(input, dim):
    if input.dtype.category < dtypes.FLOATING:
        raise RuntimeError(f"logcumsumexp(): expects a floating point type, got {input.dtype}")
    return _spec(input, dim)


def _complex_logcumsumexp(input: np.ndarray, dim: int) -> np.ndarray:
    result = input.copy()
    rows = np.moveaxis(result, normalize_dim(dim, input.ndim), 0) if input.ndim else result[None]
    for before, row in zip(rows, rows[1:]):
        top = np.maximum(before.real, row.real)
        top = np.where(np.isfinite(top), top, 0)
        row[...] = np.log(np.exp(before - top) + np.exp(row - top)) + top
    return result


@extern(spec=_logcumsumexp_spec, vjp=_logcumsumexp_vjp, saves="input out")
def logcumsumexp(input, dim):
    """`log(cumsum(exp(input)))` without overflow."""
    if input.dtype.kind == "c":
        return _complex_logcumsumexp(input, dim)
    if input.dtype.kind not in "fV":
        raise ValueError
    return _accumulate(np.logaddexp, input, dim, None)


@composite
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """Differences of neighbours, n times."""
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return ops.clone(input)
    d = normalize_dim(dim, input.ndim)
    if prepend is not None or append is not None:
        input = ops.cat([t for t in (prepend, input, append) if t is not None], d)
    for _ in range(min(n, input.shape[d])):
        size = input.shape[d]
        after, before = ops.narrow(input, d, 1, size - 1), ops.narrow(input, d, 0, size - 1)
        input = ops.bitwise_xor(after, before) if input.dtype is dtypes.bool_ else after - before
    return input


def _slope(f: Any, d: int, spacing: Any, edge_order: int) -> Any:
    """Central differences along a dimension, one-sided ones at its ends; `spacing` is a number or the coordinates."""
    size = f.shape[d]
    at = lambda start, count=1: ops.narrow(f, d, start if start >= 0 else size + start, count)
    if not hasattr(spacing, "shape"):
        inner = (at(2, size - 2) - at(0, size - 2)) / (2 * spacing)
        if edge_order == 1:
            ends = [(at(1) - at(0)) / spacing, (at(-1) - at(-2)) / spacing]
        else:
            ends = [(at(1) * 4 - at(0) * 3 - at(2)) / (2 * spacing), (at(-1) * 3 - at(-2) * 4 + at(-3)) / (2 * spacing)]
        return ops.cat([ends[0], inner, ends[1]], d)
    steps = ops.reshape(ops.diff(spacing), (-1,) + (1,) * (f.ndim - d - 1))
    first, second = ops.narrow(steps, 0, 0, size - 2), ops.narrow(steps, 0, 1, size - 2)
    a, b, c = -second / (first * (first + second)), (second - first) / (first * second), first / (second * (first + second))
    inner = a * at(0, size - 2) + b * at(1, size - 2) + c * at(2, size - 2)
    if edge_order == 1:
        ends = [(at(1) - at(0)) / steps[:1], (at(-1) - at(-2)) / steps[-1:]]
    else:
        h, k = steps[:1], steps[1:2]
        left = at(0) * (-(2 * h + k) / (h * (h + k))) + at(1) * ((h + k) / (h * k)) - at(2) * (h / (k * (h + k)))
        h, k = steps[-2:-1], steps[-1:]
        right = at(-3) * (k / (h * (h + k))) - at(-2) * ((k + h) / (h * k)) + at(-1) * ((2 * k + h) / (k * (h + k)))
        ends = [left, right]
    return ops.cat([ends[0], inner, ends[1]], d)


@composite(method=False)
def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """The derivatives of values on a grid along dimensions, by central differences; a tuple of one tensor per dimension."""
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    several = isinstance(spacing, (list, tuple))
    if dim is None:
        dims = tuple(range(input.ndim))
    else:
        dims = tuple(normalize_dim(d, input.ndim) for d in (dim if isinstance(dim, (list, tuple)) else [dim]))
    if len(set(dims)) < len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims")
    if several and len(spacing) != len(dims):
        raise RuntimeError(f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}, got {len(spacing)}")
    found = []
    for i, d in enumerate(dims):
        if input.shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
        step = spacing[i] if several else 1 if spacing is None else spacing
        if hasattr(step, "shape") and step.numel() != input.shape[d]:
            raise RuntimeError("torch.gradient expected each element to match the size of its dimension")
        found.append(_slope(input, d, step, edge_order))
    return tuple(found)


def areas(y: Any, x: Any, dim: int) -> tuple[Any, int]:
    """Twice the area of each trapezoid, in the operands' own type, and the dimension along which they follow."""
    d = normalize_dim(dim, y.ndim)
    size = y.shape[d]
    sums = ops.narrow(y, d, 1, size - 1) + ops.narrow(y, d, 0, size - 1)
    if x is None:
        return sums, d
    steps = ops.diff(x, dim=dim if x.ndim > 1 else 0)
    if x.ndim == 1:
        steps = ops.reshape(steps, (-1,) + (1,) * (y.ndim - d - 1))
    return sums * steps, d


@composite(method=False)
def trapezoid(y, x=None, *, dx=1.0, dim=-1):
    """The integral by the trapezoidal rule."""
    found, d = areas(y, x, dim)
    return ops.sum(found, d) * ((dx if x is None else 1.0) / 2)
