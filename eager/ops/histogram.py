"""Histograms of one and several dimensions, and hashes of the bits of values."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.results import named
from eager.shape import normalize_dims
from eager.spec import Spec
from eager.tensor import Tensor

_Histogram, _Histogramdd = named("histogram", "hist bin_edges"), named("histogramdd", "hist bin_edges")


def _cells_spec(rows, edges, weight, density):
    return Spec(tuple(e.shape[0] - 1 for e in edges), rows.dtype, rows.device)


@extern(spec=_cells_spec, method=False)
def histogram_cells(rows, edges, weight, density):
    """How many points, the rows, lie in each cell between edges (or their weights); the last edges belong to the cells before them.
    With `density` divided by the cells' volumes and the total."""
    counts = np.zeros([len(e) - 1 for e in edges])
    inside = np.ones(len(rows), bool)
    places = []
    for column, edge in zip(rows.T, edges):
        inside &= (column >= edge[0]) & (column <= edge[-1])
        places.append(np.clip(np.searchsorted(edge, column, "right") - 1, 0, len(edge) - 2))
    where = tuple(p[inside] for p in places)
    np.add.at(counts, where, 1.0 if weight is None else weight[inside].astype(np.float64))
    if density:
        counts /= counts.sum()
        for d, edge in enumerate(edges):
            counts /= np.diff(edge).reshape((-1,) + (1,) * (len(edges) - d - 1))
    return counts.astype(rows.dtype)


def _edges(rows: Tensor, bins: Any, range: Any, name: str) -> list[Tensor]:
    """The edges of the bins of each column: given, or so many equal ones over the range (of the data if there is none)."""
    size, edges = rows.shape[1], []
    if range is not None and len(range) != 2 * size:
        raise RuntimeError(f"torch.{name}(): for a {size}-dimensional histogram range should have {2 * size} elements, but got {len(range)}")
    for d, wanted in enumerate(bins):
        if isinstance(wanted, Tensor):
            if wanted.ndim != 1 or wanted.dtype is not rows.dtype:
                raise RuntimeError(f"torch.{name}(): bins tensor should have one dimension and the dtype {rows.dtype}")
            edges.append(wanted)
            continue
        if wanted <= 0:
            raise RuntimeError(f"torch.{name}(): bins must be > 0, but got {wanted} for dimension {d}")
        column = rows[:, d]
        low, high = (0.0, 1.0) if not column.numel() else (float(column.min()), float(column.max()))
        if range is not None:
            low, high = range[2 * d], range[2 * d + 1]
        if not (np.isfinite(low) and np.isfinite(high)):
            raise RuntimeError(f"torch.{name}(): dimension {d}'s range [{low}, {high}] is not finite")
        if low > high:
            raise RuntimeError(f"torch.{name}(): min should not exceed max, but got min {low} max {high} for dimension {d}")
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges.append(ops.linspace(low, high, wanted + 1, dtype=rows.dtype))
    return edges


def _floating(name: str, input: Tensor, weight: Any) -> None:
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f'"{name}" not implemented for {input.dtype.name!r}: it takes floating point numbers')
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(f"torch.{name}(): input tensor and weight tensor should have the same dtype")


def _histogram_front(call, *args, range=None, **kwargs):
    return _Histogram(*call(*args, **({"range": range, **kwargs})))


@composite(front=_histogram_front)
def histogram(input, bins, *, range=None, weight=None, density=False):
    """The counts of values in bins (their edges, or how many equal ones), and the edges."""
    _floating("histogram", input, weight)
    rows = ops.reshape(input, (-1, 1))
    edges = _edges(rows, [ops.clone(bins) if isinstance(bins, Tensor) else bins], range, "histogram")
    weight = None if weight is None else ops.reshape(weight, (-1,))
    return ops.histogram_cells(rows, edges, weight, density), edges[0]


@composite(front=lambda call, *args, **kwargs: _Histogramdd(*call(*args, **kwargs)))
def histogramdd(input, bins, range=None, weight=None, density=False):
    """`histogram` of points: the last dimension of the input has their coordinates."""
    _floating("histogramdd", input, weight)
    if input.ndim < 2:
        raise RuntimeError(f"torch.histogramdd(): input tensor should have at least 2 dimensions, but got {input.ndim}")
    rows = ops.reshape(input, (-1, input.shape[-1]))
    bins = [bins] * rows.shape[1] if isinstance(bins, int) else list(bins)
    if len(bins) != rows.shape[1]:
        raise RuntimeError(f"torch.histogramdd(): expected {rows.shape[1]} sequences of bin edges, but got {len(bins)}")
    edges = _edges(rows, bins, range, "histogramdd")
    weight = None if weight is None else ops.reshape(weight, (-1,))
    return ops.histogram_cells(rows, edges, weight, density), tuple(edges)


def _hash_spec(input, dim, keepdim, mode):
    if mode != 0:
        raise RuntimeError(f"hash_tensor: unknown mode {mode}; only 0 (exclusive or) is supported")
    dims = normalize_dims(dim, input.ndim)
    if input.numel() == 0 and (dim is None or dim == ()):
        raise RuntimeError("hash_tensor: Expected reduction dim to be specified for input.numel() == 0; give it as 'dim'.")
    shape = tuple(1 if i in dims else n for i, n in enumerate(input.shape) if keepdim or i not in dims)
    return Spec(shape, dtypes.uint64, input.device)


@extern(spec=_hash_spec, takes="ordered")
def hash_tensor(input, dim=None, keepdim=False, *, mode=0):
    """The exclusive or of the bits of all values along dimensions, floating ones taken as float64, integers as int64."""
    if mode != 0 or (input.size == 0 and (dim is None or dim == ())):
        raise ValueError
    bits = input.astype(np.int64 if input.dtype.kind in "iub" else np.float64).view(np.uint64)
    return np.asarray(np.bitwise_xor.reduce(bits, axis=normalize_dims(dim, input.ndim), keepdims=keepdim))
