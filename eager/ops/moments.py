"""The derivatives of normalization: as a formula in operators, which differentiates again, and as two
operators with kernels that go through their input once, for when nothing more is to be derived."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.blocks import BLOCK, column_sums, row_sums
from eager.dtype import float32
from eager.op import extern
from eager.ops.activation import HALF, widen
from eager.shape import numel
from eager.spec import Spec


def statistics_dtype(dtype: Any) -> Any:
    """The type of means and deviations: single precision for half."""
    return float32 if dtype in HALF else dtype


def widened(tensor: Any) -> Any:
    """A tensor of half precision in single; others, and None, as they are."""
    return tensor.to(float32) if tensor is not None and tensor.dtype in HALF else tensor


def moments_vjp(g: tuple, needs: tuple, input: Any, mean: Any, rstd: Any, scale: Any, dims: tuple,
                size: Any) -> tuple:
    """The gradient by the input, and the normalized input. `scale` is None or the weight, `mean` and
    `rstd` are shaped to broadcast; `g` may have None for the statistics."""
    wide = widened(input)
    normal = (wide - mean) * rstd
    by_input = None
    if needs[0]:
        if g[0] is not None:
            along = widened(g[0]) if scale is None else widened(g[0]) * scale
            shared = along.mean(dims, keepdim=True)
            slope = (along * normal).mean(dims, keepdim=True)
            by_input = (along - shared - normal * slope) * rstd
        if g[1] is not None:
            part = g[1].reshape(mean.shape) / size
            by_input = part if by_input is None else by_input + part
        if g[2] is not None:
            part = g[2].reshape(mean.shape) * (rstd * rstd) * normal / size
            by_input = -part if by_input is None else by_input - part
        if by_input is not None:
            by_input = by_input.expand(input.shape).to(input.dtype)
    return by_input, normal


def _batch_steps(g: Any, input: Any, mean: Any, rstd: Any, weight: Any) -> tuple:
    shape = (1, -1) + (1,) * (len(input.shape) - 2)
    dims = (0, *range(2, len(input.shape)))
    scale = None if weight is None else widened(weight).reshape(shape)
    size = numel(input.shape) // max(input.shape[1], 1)
    by_input, normal = moments_vjp((g, None, None), (True,), input, mean.reshape(shape),
                                   rstd.reshape(shape), scale, dims, size)
    wide = widened(g)
    return by_input, (wide * normal).sum(dims), wide.sum(dims)


def _batch_spec(g: Any, input: Any, mean: Any, rstd: Any, weight: Any) -> tuple:
    statistic = Spec(mean.shape, mean.dtype, mean.device)
    return Spec(input.shape, input.dtype, input.device), statistic, statistic


@extern(spec=_batch_spec, method=False, decompose=_batch_steps)
def batch_norm_backward(g, input, mean, rstd, weight):
    """The gradients of `batch_norm_forward` by its input, its weight and its bias."""
    samples, channels = input.shape[:2]
    length = numel(input.shape[2:])
    rows = np.ascontiguousarray(widen(input)).reshape(samples, channels, length)
    slopes = np.ascontiguousarray(widen(g)).reshape(rows.shape)
    result = np.empty_like(rows)
    by_weight, by_bias = np.empty_like(mean), np.empty_like(mean)
    size = rows.dtype.type(max(samples * length, 1))
    step = max(1, 2 * BLOCK // max(samples * length, 1))
    for start in range(0, channels, step):
        part = slice(start, start + step)
        slope, scale = slopes[:, part], rstd[part][:, None]
        normal = rows[:, part] - mean[part][:, None]
        normal *= scale
        by_bias[part] = np.add.reduce(row_sums(slope), axis=0)
        by_weight[part] = np.add.reduce(np.vecdot(slope, normal), axis=0)
        normal *= (by_weight[part] / size)[:, None]
        np.subtract(slope, normal, out=normal)
        normal -= (by_bias[part] / size)[:, None]
        factor = scale if weight is None else scale * weight[part].astype(rows.dtype)[:, None]
        np.multiply(normal, factor, out=result[:, part])
    return result.reshape(input.shape).astype(input.dtype, copy=False), by_weight, by_bias


def _layer_steps(g: Any, input: Any, mean: Any, rstd: Any, weight: Any, first: int) -> tuple:
    dims = tuple(range(first, len(input.shape)))
    by_input, normal = moments_vjp((g, None, None), (True,), input, mean, rstd, widened(weight),
                                   dims, numel(input.shape[first:]))
    wide, others = widened(g), tuple(range(first))
    by_weight = wide * normal
    if not others:
        return by_input, by_weight, wide * 1
    return by_input, by_weight.sum(others), wide.sum(others)


def _layer_spec(g: Any, input: Any, mean: Any, rstd: Any, weight: Any, first: int) -> tuple:
    found = Spec(input.shape[first:], mean.dtype, mean.device)
    return Spec(input.shape, input.dtype, input.device), found, found


@extern(spec=_layer_spec, method=False, decompose=_layer_steps)
def layer_norm_backward(g, input, mean, rstd, weight, first):
    """The gradients of `native_layer_norm` over the dimensions from `first` on."""
    length = numel(input.shape[first:])
    rows = np.ascontiguousarray(widen(input)).reshape(numel(input.shape[:first]), length)
    slopes = np.ascontiguousarray(widen(g)).reshape(rows.shape)
    means, scales = mean.reshape(-1, 1), rstd.reshape(-1, 1)
    result = np.empty_like(rows)
    by_weight, by_bias = np.zeros(length, rows.dtype), np.zeros(length, rows.dtype)
    factor = None if weight is None else weight.reshape(-1).astype(rows.dtype)
    size = rows.dtype.type(max(length, 1))
    step = max(1, BLOCK // max(length, 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        slope, along = slopes[part], result[part]
        normal = rows[part] - means[part]
        normal *= scales[part]
        by_bias += column_sums(slope)
        np.multiply(slope, normal, along)
        by_weight += column_sums(along)
        if factor is None:
            np.copyto(along, slope)
        else:
            np.multiply(slope, factor, along)
        tilt = np.vecdot(along, normal)[:, None] / size
        shared = row_sums(along, True) / size
        normal *= tilt
        normal += shared
        along -= normal
        along *= scales[part]
    shape = input.shape[first:]
    return (result.reshape(input.shape).astype(input.dtype, copy=False), by_weight.reshape(shape),
            by_bias.reshape(shape))

