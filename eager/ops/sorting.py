"""Sorting, order statistics by rank, distinct values, searching and counting."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.fake import DataDependent
from eager.op import composite, extern, ops, require
from eager.ops.reduction import along, pair_spec, place_gradient
from eager.results import named
from eager.shape import normalize_dim
from eager.spec import Spec

_Sort, _Topk, _Kth = (
    named("sort", "values indices"),
    named("topk", "values indices"),
    named("kthvalue", "values indices"),
)


def order(array: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Indices that sort along a dimension, equal elements in their order; NaN is the largest."""
    if not descending:
        return np.argsort(array, axis=dim, kind="stable")
    turned = np.flip(np.argsort(np.flip(array, dim), axis=dim, kind="stable"), dim)
    return array.shape[dim] - 1 - turned


def _sort_front(call, input, *args, **kwargs):
    """`sort(input, dim, descending, stable=…)` and the older form that begins with `stable`."""
    if args and isinstance(args[0], bool):
        kwargs["stable"], args = args[0], args[1:]
    return _Sort(*call(input, *args, **kwargs))


def _sort_spec(input, dim, descending, stable):
    normalize_dim(dim, input.ndim)
    return Spec(input.shape, input.dtype, input.device), Spec(
        input.shape, dtypes.int64, input.device
    )


def _sort_vjp(g, out, input, dim, descending, stable):
    return None if g[0] is None else place_gradient(g[0], out[1], input, dim, True)


@extern(spec=_sort_spec, vjp=_sort_vjp, saves="out1", front=_sort_front, takes="ordered")
def sort(input, dim=-1, descending=False, *, stable=False):
    """The values in order along a dimension, and where they were."""
    array, d = along(input, dim)
    indices = order(array, d, descending)
    values = np.take_along_axis(array, indices, d)
    return np.ascontiguousarray(values).reshape(input.shape), np.ascontiguousarray(indices).reshape(
        input.shape
    )


@composite
def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort along a dimension."""
    return ops.sort(input, dim, descending, stable=stable)[1]


@composite
def msort(input):
    """`sort` along the first dimension, values only."""
    return ops.sort(input, 0)[0]


def _topk_spec(input, k, dim, largest, sorted):
    d = normalize_dim(dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    if k < 0 or k > size:
        raise RuntimeError("selected index k out of range")
    shape = tuple(k if i == d else n for i, n in enumerate(input.shape))
    return Spec(shape, input.dtype, input.device), Spec(shape, dtypes.int64, input.device)


def _topk_vjp(g, out, input, k, dim, largest, sorted):
    return None if g[0] is None else place_gradient(g[0], out[1], input, dim, True)


def _first(array: np.ndarray, k: int, dim: int, largest: bool) -> np.ndarray:
    """The places of the k largest or smallest elements, in order."""
    size = array.shape[dim]
    if k == 0 or k * 8 > size or array.dtype.kind == "V":
        return np.take(order(array, dim, largest), np.arange(k), dim)
    parted = np.argpartition(array, size - k if largest else k - 1, dim)
    some = np.sort(
        np.take(parted, np.arange(size - k, size) if largest else np.arange(k), dim), dim
    )
    return np.take_along_axis(some, order(np.take_along_axis(array, some, dim), dim, largest), dim)


@extern(
    spec=_topk_spec, vjp=_topk_vjp, saves="out1", front=lambda call, *a, **k: _Topk(*call(*a, **k)),
    takes="ordered",
)
def topk(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) values along a dimension, in order, and where they were."""
    array, d = along(input, dim)
    if not 0 <= k <= array.shape[d]:
        raise ValueError
    indices = _first(array, k, d, largest)
    values = np.take_along_axis(array, indices, d)
    shape = input.shape if input.ndim == 0 else values.shape
    return np.ascontiguousarray(values).reshape(shape), np.ascontiguousarray(indices).reshape(shape)


def _kth_spec(input, k, dim, keepdim):
    d = normalize_dim(dim, input.ndim)
    if k < 1 or k > (input.shape[d] if input.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    return pair_spec(input, dim, keepdim)


def _kth_vjp(g, out, input, k, dim, keepdim):
    return None if g[0] is None else place_gradient(g[0], out[1], input, dim, keepdim)


@extern(spec=_kth_spec, vjp=_kth_vjp, saves="out1", front=lambda call, *a, **k: _Kth(*call(*a, **k)), takes="ordered")
def kthvalue(input, k, dim=-1, keepdim=False):
    """The k-th smallest value along a dimension (counted from 1), and where it was."""
    array, d = along(input, dim)
    if not 1 <= k <= array.shape[d]:
        raise ValueError
    indices = np.take(order(array, d, False), [k - 1], d)
    values = np.take_along_axis(array, indices, d)
    if input.ndim == 0:
        return values.reshape(()), indices.reshape(())
    return (values, indices) if keepdim else (values.squeeze(d), indices.squeeze(d))


# -- distinct values -------------------------------------------------------------------------------


def _depends(name: str) -> Any:
    def spec(*bound):
        raise DataDependent(f"the shape of {name}() depends on values")

    return spec


def _distinct(array: np.ndarray, dim: Any) -> tuple:
    axis = None if dim is None else normalize_dim(dim, array.ndim)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=axis)
    return (
        values,
        inverse.reshape(array.shape if dim is None else -1).astype(np.int64),
        counts.astype(np.int64),
    )


@extern(spec=_depends("unique"), name="distinct_values", method=False)
def distinct_values(input, dim=None):
    """Distinct values in order, the place of each element's value, how often each occurs."""
    return _distinct(input, dim)


def _runs(array: np.ndarray, dim: Any) -> tuple:
    rows = array.reshape(-1) if dim is None else np.moveaxis(array, dim, 0)
    if not len(rows):
        return (
            array.copy(),
            np.zeros(array.shape if dim is None else 0, np.int64),
            np.zeros(0, np.int64),
        )
    fresh = np.ones(len(rows), bool)
    if len(rows) > 1:
        fresh[1:] = (rows[1:] != rows[:-1]).reshape(len(rows) - 1, -1).any(1)
    places = np.flatnonzero(fresh)
    inverse = np.cumsum(fresh) - 1
    values = rows[fresh] if dim is None else np.moveaxis(rows[fresh], 0, dim)
    counts = np.diff(np.append(places, len(rows)))
    return np.ascontiguousarray(values), inverse.reshape(array.shape if dim is None else -1), counts


@extern(spec=_depends("unique_consecutive"), name="distinct_runs", method=False)
def distinct_runs(input, dim=None):
    """The values of runs of equal elements, for each element the place of its run, and the lengths
    of runs."""
    return _runs(input, None if dim is None else normalize_dim(dim, input.ndim))


def _chosen(found: tuple, inverse: bool, counts: bool) -> Any:
    wanted = [found[0], *([found[1]] if inverse else []), *([found[2]] if counts else [])]
    return wanted[0] if len(wanted) == 1 else tuple(wanted)


@composite
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct values in order; on request where each element's value is and how often each
    occurs."""
    require("unique", "ordered", input.dtype)
    return _chosen(ops.distinct_values(input, dim), return_inverse, return_counts)


@composite
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The first of each run of equal elements."""
    require("unique_consecutive", "ordered", input.dtype)
    return _chosen(ops.distinct_runs(input, dim), return_inverse, return_counts)


# -- searching and counting ------------------------------------------------------------------------


def _search(edges: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    side: Any = "right" if right else "left"
    if edges.ndim == 1:
        return np.searchsorted(edges, values, side)
    if not values.size:
        return np.zeros(values.shape, np.int64)
    rows, wanted = edges.reshape(-1, edges.shape[-1]), values.reshape(-1, values.shape[-1])
    return np.stack([np.searchsorted(r, w, side) for r, w in zip(rows, wanted)]).reshape(
        values.shape
    )


def _search_check(edges: Any, values: Any) -> None:
    if edges.ndim > 1 and tuple(edges.shape[:-1]) != tuple(values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(edges.shape)} and input value tensor {list(values.shape)}"
        )


def _search_spec(edges, values, out_int32, right, side, sorter):
    _search_check(edges, values)
    return Spec(
        values.shape if hasattr(values, "shape") else (),
        dtypes.int32 if out_int32 else dtypes.int64,
    )


@extern(spec=_search_spec, method=False, takes="ordered")
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each value would be inserted to keep the last dimension sorted."""
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    values = np.asarray(input)
    if sorted_sequence.ndim > 1 and sorted_sequence.shape[:-1] != values.shape[:-1]:
        raise ValueError
    edges = sorted_sequence if sorter is None else np.take_along_axis(sorted_sequence, sorter, -1)
    return np.asarray(_search(edges, values, right or side == "right")).astype(
        np.int32 if out_int32 else np.int64
    )


@composite(method=False)
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The bucket of each value between sorted boundaries."""
    return ops.searchsorted(boundaries, input, out_int32=out_int32, right=right)


@extern(spec=_depends("bincount"))
def bincount(input, weights=None, minlength=0):
    """How often each non-negative integer occurs, or the sums of their weights."""
    if input.ndim != 1 or input.dtype.kind not in "iu" or (input.size and input.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return np.bincount(input, minlength=minlength).astype(np.int64)
    if weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    return np.bincount(input, weights, minlength).astype(
        weights.dtype if weights.dtype == np.float32 else np.float64
    )


@extern(spec=lambda input, bins, min, max: Spec((bins,), input.dtype, input.device), takes="ordered")
def histc(input, bins=100, min=0, max=0):
    """How many elements fall into each of equal bins between two bounds (those of the data if both
    are 0)."""
    low, high = min, max
    if low == high and input.size:
        low, high = input.min(), input.max()
    if low == high:
        low, high = low - 1, high + 1
    return np.histogram(input, bins, (low, high))[0].astype(input.dtype)


def _isin_spec(elements, test_elements, assume_unique, invert):
    shaped = elements if hasattr(elements, "shape") else None
    return Spec(shaped.shape if shaped is not None else (), dtypes.bool_)


@extern(spec=_isin_spec, method=False, takes="ordered")
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element is among the test elements."""
    return np.asarray(np.isin(elements, test_elements, invert=invert))
