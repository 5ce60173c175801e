"""Reductions over consecutive segments of a dimension, which lengths or offsets mark off."""

from __future__ import annotations

from typing import Any

from eager.op import composite, require
from eager.registry import ops
from eager.shape import normalize_dim, numel

# What a reduction over nothing gives.
_EMPTY = {"sum": 0.0, "mean": float("nan"), "prod": 1.0, "max": -float("inf"),
          "min": float("inf")}


def _lengths(data: Any, lengths: Any, offsets: Any, axis: int, unsafe: bool) -> Any:
    """The lengths of the segments, checked."""
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined")
    given = offsets if lengths is None else lengths
    if given.ndim != axis + 1:
        raise RuntimeError(f"segment_reduce(): Expected lengths or offsets of {axis + 1} "
                           f"dimensions, one more than axis, but got {list(given.shape)}")
    if tuple(given.shape[:-1]) != tuple(data.shape[:axis]):
        raise RuntimeError(f"segment_reduce(): Expected the leading sizes of data, "
                           f"{list(data.shape[:axis])}, but got {list(given.shape[:-1])}")
    if lengths is None:
        return ops.diff(offsets)
    if not unsafe:
        if bool(ops.any(lengths < 0)):
            raise RuntimeError("lengths contains negative value!")
        if bool(ops.any(lengths.sum(-1) != data.shape[axis])):
            raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum "
                               "to data.size(lengths.dim()-1) when !unsafe.")
    return lengths


def _reduced(rows: Any, numbers: Any, count: Any, reduce: str, initial: Any) -> Any:
    """The reductions of `rows` (batch, length, size) by segment; segment `count` is none."""
    batch, _, size = rows.shape
    start = ops.full((batch, count + 1, size), _EMPTY["sum" if reduce == "mean" else reduce]
                     if initial is None else float(initial), dtype=rows.dtype, device=rows.device)
    index = numbers.unsqueeze(-1).expand(rows.shape)
    if reduce in ("sum", "mean"):
        return ops.scatter_add(start, 1, index, rows)
    kind = {"prod": "prod", "max": "amax", "min": "amin"}[reduce]
    return ops.scatter_reduce(start, 1, index, rows, kind, include_self=True)


@composite(method=False)
def segment_reduce(data, reduce, *, lengths=None, indices=None, offsets=None, axis=0,
                   unsafe=False, initial=None):
    """Sums, means, products or extrema over the segments of a dimension; `initial` takes part in
    each and stands for empty ones. Elements beyond the last segment take no part."""
    if reduce not in _EMPTY:
        raise RuntimeError(f"segment_reduce(): reduce must be one of {', '.join(_EMPTY)}, but got "
                           f"{reduce!r}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    require("segment_reduce", "floating", data.dtype)
    axis = normalize_dim(axis, data.ndim)
    lengths = _lengths(data, lengths, offsets, axis, unsafe)
    lead, count = tuple(data.shape[:axis]), lengths.shape[-1]
    lengths = lengths.reshape((numel(lead), count))
    rows = data.reshape((numel(lead), data.shape[axis], numel(data.shape[axis + 1:])))
    ends = ops.cumsum(lengths, 1)
    first = 0 if offsets is None else offsets.reshape((numel(lead), -1))[:, :1]
    place = ops.arange(rows.shape[1], device=data.device) - first
    numbers = ops.searchsorted(ends, place.expand((numel(lead), rows.shape[1])), right=True)
    numbers = ops.where(place < 0, count, numbers)
    found = _reduced(rows, numbers, count, reduce, initial)[:, :count]
    if reduce == "mean":
        empty = (lengths == 0).unsqueeze(-1)
        found = found / ops.clamp_min(lengths, 1).unsqueeze(-1).to(found.dtype)
        found = found if initial is not None else ops.masked_fill(found, empty, _EMPTY["mean"])
    return found.reshape((*lead, count, *data.shape[axis + 1:]))
