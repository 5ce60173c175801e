"""Order statistics: medians, modes, quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops, require
from eager.ops.reduction import along, pair_spec, pair_vjp, reduced_shape
from eager.results import named
from eager.tensor import Tensor


def _median(input, dim, keepdim, skip_nan=False):
    array, d = along(input, dim)
    order = np.argsort(array, axis=d, kind="stable")
    size = array.shape[d]
    if size == 0:
        raise IndexError(f"median(): Expected reduction dim {d} to have non-zero size.")
    missing = (
        np.isnan(array).sum(d, keepdims=True)
        if array.dtype.kind == "f"
        else np.zeros((1,) * array.ndim, np.int64)
    )
    place = np.full([1 if i == d else n for i, n in enumerate(array.shape)], (size - 1) // 2)
    if skip_nan:
        place = np.maximum(size - missing - 1, 0) // 2
    else:
        place = np.where(missing > 0, size - missing, place)  # NaN sorts last: the first of them
    indices = np.take_along_axis(
        order, np.broadcast_to(place, [1 if i == d else n for i, n in enumerate(array.shape)]), d
    )
    values = np.take_along_axis(array, indices, d)
    if input.ndim == 0:
        return values.reshape(()), indices.reshape(())
    return (values, indices) if keepdim else (values.squeeze(d), indices.squeeze(d))


_Median, _Nanmedian, _Mode = (named(n, "values indices") for n in ("median", "nanmedian", "mode"))


@extern(spec=pair_spec, vjp=pair_vjp, saves="out1", method=False)
def median_dim(input, dim, keepdim=False):
    """The (lower) medians along a dimension and their indices."""
    return _median(input, dim, keepdim)


@extern(spec=pair_spec, vjp=pair_vjp, saves="out1", method=False)
def nanmedian_dim(input, dim, keepdim=False):
    """The (lower) medians of what is not NaN along a dimension, and their indices."""
    return _median(input, dim, keepdim, True)


@composite
def median(input, dim=None, keepdim=False):
    """The median, of two middle values the lower; along a dimension, values and indices."""
    require("median", "ordered", input.dtype)
    if dim is None:
        return ops.median_dim(ops.reshape(input, (-1,)), 0)[0]
    return _Median(*ops.median_dim(input, dim, keepdim))


@composite
def nanmedian(input, dim=None, keepdim=False):
    """`median` of the elements that are not NaN."""
    require("nanmedian", "ordered", input.dtype)
    if dim is None:
        return ops.nanmedian_dim(ops.reshape(input, (-1,)), 0)[0]
    return _Nanmedian(*ops.nanmedian_dim(input, dim, keepdim))


def _mode_kernel(input, dim, keepdim):
    array, d = along(input, dim)
    rows = np.moveaxis(array, d, -1)
    values = np.empty(rows.shape[:-1], array.dtype)
    indices = np.empty(rows.shape[:-1], np.int64)
    for place in np.ndindex(*rows.shape[:-1]):
        found, counts = np.unique(rows[place], return_counts=True)
        values[place] = found[np.argmax(counts)]
        indices[place] = np.flatnonzero(rows[place] == values[place])[-1]
    if input.ndim and keepdim:
        return np.expand_dims(values, d), np.expand_dims(indices, d)
    return values, indices


@extern(
    spec=pair_spec, vjp=pair_vjp, saves="out1", front=lambda call, *a, **k: _Mode(*call(*a, **k)),
    takes="ordered",
)
def mode(input, dim=-1, keepdim=False):
    """The most frequent values along a dimension and the last index of each."""
    return _mode_kernel(input, dim, keepdim)


def _quantile_check(name: str, input: Tensor, q: Any, dim: Any, interpolation: str) -> Tensor:
    """The share as a tensor of the input's type. Raises RuntimeError, ValueError for arguments that make no sense."""
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    elif not 0 <= q <= 1:
        raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    return q if isinstance(q, Tensor) else ops.full((), float(q), dtype=input.dtype)


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Tensor:
    share = _quantile_check(name, input, q, dim, interpolation)
    rows = ops.reshape(input, (-1,)) if dim is None or input.ndim == 0 else ops.movedim(input, dim, -1)
    ordered = ops.sort(rows, -1)[0]
    missing = ops.isnan(ordered)
    last = rows.shape[-1] - 1
    if name == "nanquantile":
        last = ops.convert(ops.clamp(ops.sum(~missing, -1, True) - 1, 0, None), input.dtype)
    place = ops.reshape(share, (-1,)) * last
    if interpolation in ("nearest", "lower", "higher"):
        place = {"nearest": ops.round, "lower": ops.floor, "higher": ops.ceil}[interpolation](place)
    below = ops.floor(place)
    weight = ops.convert(place != below, input.dtype) * 0.5 if interpolation == "midpoint" else place - below
    shape = (*rows.shape[:-1], share.numel())
    low, high = (ops.convert(ops.expand(p, shape), dtypes.int64) for p in (below, ops.ceil(place)))
    found = ops.lerp(ops.gather(ordered, -1, low), ops.gather(ordered, -1, high), weight)
    if name == "quantile":
        found = ops.where(ops.any(missing, -1, True), float("nan"), found)
    found = ops.contiguous(ops.movedim(found, -1, 0))
    if keepdim:
        kept = (1,) * input.ndim if dim is None else reduced_shape(input, dim, True)
        found = ops.reshape(found, (-1, *kept))
    return found if share.ndim else ops.squeeze(found, 0)


@composite
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Values below which a share `q` of the elements lies. Raises RuntimeError for types other than
    float and double."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@composite
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
