"""Order statistics: medians, modes, quantiles."""

from __future__ import annotations

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
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


@extern(spec=pair_spec, vjp=pair_vjp, saves="out", method=False)
def median_dim(input, dim, keepdim=False):
    """The (lower) medians along a dimension and their indices."""
    return _median(input, dim, keepdim)


@extern(spec=pair_spec, vjp=pair_vjp, saves="out", method=False)
def nanmedian_dim(input, dim, keepdim=False):
    """The (lower) medians of what is not NaN along a dimension, and their indices."""
    return _median(input, dim, keepdim, True)


@composite
def median(input, dim=None, keepdim=False):
    """The median, of two middle values the lower; along a dimension, values and indices."""
    if dim is None:
        return ops.median_dim(ops.reshape(input, (-1,)), 0)[0]
    return _Median(*ops.median_dim(input, dim, keepdim))


@composite
def nanmedian(input, dim=None, keepdim=False):
    """`median` of the elements that are not NaN."""
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
    spec=pair_spec, vjp=pair_vjp, saves="out", front=lambda call, *a, **k: _Mode(*call(*a, **k))
)
def mode(input, dim=-1, keepdim=False):
    """The most frequent values along a dimension and the last index of each."""
    return _mode_kernel(input, dim, keepdim)


@composite
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Values below which a share `q` of the elements lies. Raises RuntimeError for types other than
    float and double."""
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    share = q if isinstance(q, Tensor) else ops.full((), float(q), dtype=input.dtype)
    rows = ops.reshape(input, (-1,)) if dim is None else ops.movedim(input, dim, -1)
    ordered = ops.sort(rows, -1)[0]
    size = ordered.shape[-1]
    place = ops.reshape(share, (-1,)) * (size - 1)
    if interpolation == "nearest":
        place = ops.round(place)
    elif interpolation in ("lower", "higher"):
        place = ops.floor(place) if interpolation == "lower" else ops.ceil(place)
    elif interpolation not in ("linear", "midpoint"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            "but got " + interpolation
        )
    below = ops.floor(place)
    weight = (
        place - below
        if interpolation != "midpoint"
        else ops.convert(place != below, input.dtype) * 0.5
    )
    low = ops.index_select(ordered, -1, ops.convert(below, dtypes.int64))
    high = ops.index_select(ordered, -1, ops.convert(ops.ceil(place), dtypes.int64))
    found = ops.lerp(low, high, weight)  # (..., number of q)
    found = ops.where(ops.any(ops.isnan(ordered), -1, True), float("nan"), found)
    if keepdim:
        shape = (1,) * input.ndim if dim is None else reduced_shape(input, dim, True)
        result = ops.reshape(ops.movedim(found, -1, 0), (-1, *shape))
    else:
        result = ops.movedim(found, -1, 0)
    return result if share.ndim else ops.squeeze(result, 0)
