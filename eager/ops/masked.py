"""torch.masked: reductions, scans and normalizations that leave out the elements where a mask is False. Where nothing is left they
give what the reduction of no elements gives: its identity, or NaN.
"""

from __future__ import annotations

import math
from typing import Any

from eager import dtype as dtypes
from eager.op import composite, ops
from eager.shape import broadcast_shapes, normalize_dims
from eager.tensor import Tensor


def _broadcast(input: Tensor, mask: Tensor) -> Tensor:
    """The mask in the shape of the input. Raises IndexError, RuntimeError for one that does not fit."""
    if mask.ndim > input.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    if broadcast_shapes(mask.shape, input.shape) != tuple(input.shape):
        raise RuntimeError(f"a mask of shape {list(mask.shape)} does not fit an input of shape {list(input.shape)}")
    return ops.expand(ops.convert(mask, dtypes.bool_), tuple(input.shape))


def _filled(input: Tensor, mask: Any, value: Any) -> Tensor:
    return input if mask is None else ops.where(_broadcast(input, mask), input, ops.full((), value, dtype=input.dtype))


def _lowest(dtype: Any) -> Any:
    return -math.inf if dtype.category >= dtypes.FLOATING else False if dtype is dtypes.bool_ else dtypes.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    return math.inf if dtype.is_floating_point else True if dtype is dtypes.bool_ else dtypes.iinfo(dtype).max


def _cast(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None or input.dtype is dtype else ops.convert(input, dtype)


def _summed(dtype: Any, input: Tensor) -> Any:
    """The type in which sums and products are: that asked for, int64 for small integers."""
    if dtype is None and input.dtype.category < dtypes.FLOATING:
        return dtypes.int64
    return dtype or input.dtype


def _dims(dim: Any, input: Tensor) -> tuple[int, ...]:
    return normalize_dims(None if dim == () else dim, input.ndim)


@composite(method=False)
def masked_sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of what the mask keeps."""
    return ops.sum(_filled(input, mask, 0), _dims(dim, input), keepdim, dtype=_summed(dtype, input))


@composite(method=False)
def masked_prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of what the mask keeps."""
    result = _cast(_filled(input, mask, 1), _summed(dtype, input))
    for d in reversed(_dims(dim, input)):
        result = ops.prod(result, d, keepdim)
    return ops.clone(result) if result is input and dim is not None and dim != () else result


@composite(method=False)
def masked_amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest value that the mask keeps."""
    return _cast(ops.amax(_filled(input, mask, _lowest(input.dtype)), _dims(dim, input), keepdim), dtype)


@composite(method=False)
def masked_amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest value that the mask keeps."""
    return _cast(ops.amin(_filled(input, mask, _highest(input.dtype)), _dims(dim, input), keepdim), dtype)


@composite(method=False)
def masked_argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The index of the largest value that the mask keeps, in the input's type or `dtype`."""
    return _cast(ops.argmax(_filled(input, mask, _lowest(input.dtype)), dim, keepdim), dtype or input.dtype)


@composite(method=False)
def masked_argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The index of the smallest value that the mask keeps, in the input's type or `dtype`."""
    return _cast(ops.argmin(_filled(input, mask, _highest(input.dtype)), dim, keepdim), dtype or input.dtype)


def _count(input: Tensor, dim: Any, keepdim: bool, mask: Any) -> Tensor:
    kept = ops.ones(tuple(input.shape), dtype=dtypes.int64) if mask is None else _broadcast(input, mask)
    return ops.sum(kept, _dims(dim, input), keepdim)


@composite(method=False)
def masked_mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of what the mask keeps. Raises ValueError for types that are not floating."""
    found = dtype or input.dtype
    if found.category < dtypes.FLOATING:
        raise ValueError(f"mean(): Could not infer output dtype: it must be either a floating point or complex dtype. Got: {found}")
    total = ops.masked_sum(input, dim, keepdim=keepdim, dtype=found, mask=mask)
    return total / _count(input, dim, keepdim, mask)


@composite(method=False)
def masked_median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The lower median of what the mask keeps along a dimension. Raises ValueError for integers of which nothing is left."""
    floating = input.dtype.is_floating_point
    kept = _filled(input if floating else ops.convert(input, dtypes.float32), mask, math.nan)
    found = ops.nanmedian(kept, dim, keepdim)[0]
    if floating:
        return found
    if bool(ops.any(ops.isnan(found))):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return ops.convert(found, dtype or input.dtype)


@composite(method=False)
def masked_logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The logarithm of the sum of the exponentials of what the mask keeps."""
    return _cast(ops.logsumexp(_filled(input, mask, _lowest(input.dtype)), _dims(dim, input), keepdim), dtype or input.dtype)


@composite(method=False)
def masked_logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """`logaddexp` of what the masks keep."""
    left, right = _filled(input, input_mask, _lowest(input.dtype)), _filled(other, other_mask, _lowest(other.dtype))
    return _cast(ops.logaddexp(left, right), dtype or input.dtype)


@composite(method=False)
def masked_norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The norm of what the mask keeps."""
    nothing = math.inf if ord == -math.inf else 0
    return ops.linalg_vector_norm(_filled(input, mask, nothing), ord, _dims(dim, input), keepdim, dtype=dtype)


@composite(method=False)
def masked_normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """What the mask keeps, divided by its norm along a dimension (by `eps` at least)."""
    size = ops.masked_norm(input, ord, dim, keepdim=True, dtype=dtype or input.dtype, mask=mask)
    return _filled(input, mask, 0) / ops.clamp(size, eps, None)


def _variance(input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool, dtype: Any, mask: Any) -> Tensor:
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    take = (0.0 if unbiased is False else 1.0) if correction is None else float(correction)
    found = dtype or (input.dtype if input.dtype.category >= dtypes.FLOATING else dtypes.float32)
    compute = found if found.category >= dtypes.FLOATING else dtypes.float32
    mean = ops.masked_sum(input, dim, keepdim=True, dtype=found, mask=mask) / _count(input, dim, True, mask)
    apart = input - mean
    total = ops.masked_sum(apart * ops.conj(apart), dim, keepdim=keepdim, dtype=compute, mask=mask)
    left = ops.convert(_count(input, dim, keepdim, mask), compute.to_real())
    return _cast(total / ops.clamp(left - take, 0, None) if take else total / left, found)


@composite(method=False)
def masked_var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance of what the mask keeps."""
    return _variance(input, dim, unbiased, correction, keepdim, dtype, mask)


@composite(method=False)
def masked_std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The standard deviation of what the mask keeps."""
    return ops.sqrt(_variance(input, dim, unbiased, correction, keepdim, dtype, mask))


@composite(method=False)
def masked_softmax(input, dim, *, dtype=None, mask=None):
    """`softmax` over what the mask keeps; 0 elsewhere."""
    return ops.softmax(_filled(_cast(input, dtype), mask, -math.inf), dim)


@composite(method=False)
def masked_log_softmax(input, dim, *, dtype=None, mask=None):
    """`log_softmax` over what the mask keeps; minus infinity elsewhere."""
    return ops.log_softmax(_filled(_cast(input, dtype), mask, -math.inf), dim)


@composite(method=False)
def masked_softmin(input, dim, *, dtype=None, mask=None):
    """`softmin` over what the mask keeps; 0 elsewhere."""
    return ops.softmin(_filled(_cast(input, dtype), mask, math.inf), dim)


@composite(method=False)
def masked_cumsum(input, dim, *, dtype=None, mask=None):
    """Running sums of what the mask keeps."""
    return _cast(ops.cumsum(_filled(input, mask, 0), dim), dtype)


@composite(method=False)
def masked_cumprod(input, dim, *, dtype=None, mask=None):
    """Running products of what the mask keeps."""
    return _cast(ops.cumprod(_filled(input, mask, 1), dim), dtype)
