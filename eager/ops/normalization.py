"""Normalization: of a batch by channel, of a sample by layer, group, instance or root mean square.
Two operators with kernels of their own compute everything that takes statistics of its input; each
returns them with the result, for the derivative reads them.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from eager import dispatch
from eager.autograd import is_grad_enabled
from eager.blocks import BLOCK, row_sums
from eager.call import FLOATS
from eager.dtype import finfo
from eager.op import composite, extern
from eager.ops.activation import widen
from eager.ops.moments import (
    batch_norm_backward,
    layer_norm_backward,
    moments_vjp,
    statistics_dtype,
    widened,
)
from eager.registry import ops
from eager.shape import numel
from eager.spec import Spec
from eager.tensor import PLAIN, Tensor

# Over the batch


def _channel_shape(input: Any) -> tuple:
    return (1, -1) + (1,) * (len(input.shape) - 2)


def _batch_norm_spec(input: Any, weight: Any, bias: Any, eps: float) -> tuple:
    if len(input.shape) < 2:
        raise RuntimeError(f"batch_norm: expected at least 2 dimensions, got {list(input.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor.shape) != (input.shape[1],):
            raise RuntimeError(f"{name} should contain {input.shape[1]} elements not "
                               f"{numel(tensor.shape)}")
    statistic = Spec((input.shape[1],), statistics_dtype(input.dtype), input.device)
    return Spec(input.shape, input.dtype, input.device), statistic, statistic


def _only_first(g: tuple, needs: tuple) -> bool:
    """Whether the gradients are those of the result alone, and are not to be derived further."""
    return needs[0] and g[0] is not None and g[1] is g[2] is None and not is_grad_enabled()


def _batch_norm_vjp(g: tuple, out: tuple, needs: tuple, input: Any, weight: Any, bias: Any,
                    eps: float) -> tuple:
    if _only_first(g, needs):
        found = ops.batch_norm_backward(g[0], input, out[1], out[2], weight)
        return (found[0], found[1].to(weight.dtype) if needs[1] else None,
                found[2].to(bias.dtype) if needs[2] else None)
    shape = _channel_shape(input)
    dims = (0, *range(2, len(input.shape)))
    size = numel(input.shape) // max(input.shape[1], 1)
    scale = None if weight is None else widened(weight).reshape(shape)
    by_input, normal = moments_vjp(g, needs, input, out[1].reshape(shape), out[2].reshape(shape),
                                   scale, dims, size)
    by_weight = by_bias = None
    if g[0] is not None and needs[1]:
        by_weight = (widened(g[0]) * normal).sum(dims).to(weight.dtype)
    if g[0] is not None and needs[2]:
        by_bias = widened(g[0]).sum(dims).to(bias.dtype)
    return by_input, by_weight, by_bias


def _batch_norm_steps(input: Any, weight: Any, bias: Any, eps: float) -> tuple:
    shape = _channel_shape(input)
    dims = (0, *range(2, len(input.shape)))
    wide = widened(input)
    mean = wide.mean(dims, keepdim=True)
    centred = wide - mean
    rstd = ops.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    result = centred * rstd
    if weight is not None:
        result = result * widened(weight).reshape(shape)
    if bias is not None:
        result = result + widened(bias).reshape(shape)
    return result.to(input.dtype), mean.reshape((-1,)), rstd.reshape((-1,))


@extern(spec=_batch_norm_spec, vjp=_batch_norm_vjp, joint=True, saves="input weight out1 out2",
        decompose=_batch_norm_steps, method=False, takes="floating")
def batch_norm_forward(input, weight, bias, eps):
    """Each channel to mean 0 and variance 1 over batch and space, then scaled and shifted.

    Returns the result, the means, and one over the standard deviations."""
    if input.ndim < 2 or any(p is not None and p.shape != input.shape[1:2] for p in (weight, bias)):
        _batch_norm_spec(input_spec(input), weight, bias, eps)
    work = widen(input)
    rows = np.ascontiguousarray(work).reshape(*work.shape[:2], numel(work.shape[2:]))
    count = work.dtype.type(max(rows.shape[0] * rows.shape[2], 1))
    mean = _over_samples(row_sums(rows)) / count
    centred = rows - mean[:, None]
    rstd = _over_samples(np.vecdot(centred, centred)) / count
    rstd += work.dtype.type(eps)
    np.sqrt(rstd, rstd)
    np.reciprocal(rstd, rstd)
    centred *= (rstd if weight is None else rstd * weight.astype(work.dtype, copy=False))[:, None]
    if bias is not None:
        centred += bias.astype(work.dtype, copy=False)[:, None]
    return centred.reshape(work.shape).astype(input.dtype, copy=False), mean, rstd


def _over_samples(sums: np.ndarray) -> np.ndarray:
    return sums[0] if len(sums) == 1 else np.add.reduce(sums, axis=0)


def input_spec(array: np.ndarray) -> Any:
    """An array as a shape rule sees a tensor."""
    from eager.dtype import from_numpy
    return Spec(array.shape, from_numpy(array.dtype))


def _check_running(input: Any, running: Any, name: str) -> None:
    if running is not None and running.numel() != input.shape[1]:
        raise RuntimeError(f"{name} should contain {input.shape[1]} elements not {running.numel()}")


def _batch_norm_forth(input: np.ndarray, mean: Any, variance: Any, weight: Any, bias: Any,
                      training: bool, momentum: float, eps: float) -> tuple | None:
    """The result, and the statistics and whether they are the batch's; all of one type. None for what
    the operators have to see to. `mean` and `variance` are tensors, for they may be written to."""
    kind, channels = input.dtype, input.shape[1:2]
    if kind not in FLOATS or input.ndim < 2 or not input.size:
        return None
    for parameter in (weight, bias):
        if parameter is not None and (parameter.dtype is not kind or parameter.shape != channels):
            return None
    for running in (mean, variance):
        if running is None:
            if not training:
                return None
        elif (type(running) not in PLAIN or running.requires_grad or not running._array.flags.writeable
              or running._array.dtype is not kind or running._array.shape != channels):
            return None
    if training:
        return _by_batch(input, mean, variance, weight, bias, momentum, eps)
    shape = (-1, *(1,) * (input.ndim - 2))
    rstd = variance._array + eps
    np.sqrt(rstd, rstd)
    np.reciprocal(rstd, rstd)
    scale = rstd if weight is None else rstd * weight
    shift = -mean._array * scale
    if bias is not None:
        shift += bias
    result = input * scale.reshape(shape)
    result += shift.reshape(shape)
    return result, (mean._array.copy(), rstd, False)


def _by_batch(input: np.ndarray, mean: Any, variance: Any, weight: Any, bias: Any, momentum: float,
              eps: float) -> tuple | None:
    count, kind = input.size // input.shape[1], input.dtype
    if count == 1:
        return None
    share, least, kept, part, unbiased = _batch_constants(count, eps, momentum, kind)
    rows = input.reshape(*input.shape[:2], -1)
    means = _over_samples(row_sums(rows))
    means *= share
    result = rows - means[:, None]
    rstd = _over_samples(np.vecdot(result, result))
    rstd *= share
    for running, found, amount in ((mean, means, part), (variance, rstd, unbiased)):
        if running is not None:
            array = running._array
            array *= kept
            array += found * amount
            running._bump()
    rstd += least
    np.sqrt(rstd, rstd)
    np.reciprocal(rstd, rstd)
    result *= (rstd if weight is None else rstd * weight)[:, None]
    if bias is not None:
        result += bias[:, None]
    return result.reshape(input.shape), (means, rstd, True)


@functools.lru_cache(64)
def _batch_constants(count: int, eps: float, momentum: float, kind: np.dtype) -> tuple:
    """One over the count, eps, what running statistics keep, and what they take of a new mean and of
    a new variance, as arrays: NumPy's loops are slow to take a number."""
    return tuple(np.array(value, kind) for value in (
        1 / count, eps, 1 - momentum, momentum, momentum * count / (count - 1)))


def _batch_norm_at_once(*values: Any) -> np.ndarray | None:
    found = _batch_norm_forth(*values)
    return None if found is None else found[0]


def _batch_norm_back(g: np.ndarray, kept: tuple, needs: tuple, input: Any, running_mean: Any,
                     running_var: Any, weight: Any, bias: Any, *how: Any) -> tuple:
    mean, rstd, training = kept
    if training:
        found = batch_norm_backward.function(g, input, mean, rstd, weight)
        return found[0], None, None, found[1], found[2]
    shape, axes = (-1, *(1,) * (g.ndim - 2)), (0, *range(2, g.ndim))
    by_input = by_weight = by_bias = None
    if needs[0]:
        by_input = g * (rstd if weight is None else rstd * weight).reshape(shape)
    if needs[3]:
        by_weight = (g * ((input - mean.reshape(shape)) * rstd.reshape(shape))).sum(axes)
    if needs[4]:
        by_bias = g.sum(axes)
    return by_input, None, None, by_weight, by_bias


def _batch_norm_again(kept: tuple, input: Any, running_mean: Any, running_var: Any, weight: Any,
                      bias: Any, training: bool, momentum: float, eps: float) -> Any:
    if training:
        return ops.batch_norm_forward(input, weight, bias, eps)[0]
    mean, rstd = Tensor._wrap(kept[0]), Tensor._wrap(kept[1])
    return _scale_by(input, mean, rstd, weight, bias)


@composite(mutates="running_mean running_var", method=False, run=_batch_norm_at_once,
           forth=_batch_norm_forth, back=_batch_norm_back, again=_batch_norm_again,
           saves="input weight")
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False,
               momentum=0.1, eps=1e-5):
    """Normalizes by channel: with the batch's statistics in training, also averaging them into the
    running ones, and with the running ones otherwise."""
    if len(input.shape) == 1 and input.shape[0] == 0:  # there are no channels
        return input.clone()
    if len(input.shape) < 2:
        raise RuntimeError(f"batch_norm: expected at least 2 dimensions, got {list(input.shape)}")
    _check_running(input, running_mean, "running_mean")
    _check_running(input, running_var, "running_var")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when "
                               "training=False")
        return _normalize_by(input, running_mean, running_var, weight, bias, eps)
    count = numel(input.shape) // input.shape[1] if input.shape[1] else 0
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size "
                         f"{input.shape}")
    result, mean, rstd = ops.batch_norm_forward(input, weight, bias, eps)
    if count == 0:  # nothing to learn from
        return result
    if running_mean is not None:
        _average(running_mean, mean.detach(), momentum)
    if running_var is not None:
        rstd = rstd.detach()
        variance = (1 / (rstd * rstd) - eps) * (count / (count - 1))
        _average(running_var, variance, momentum)
    return result


def _average(running: Any, value: Any, momentum: float) -> None:
    """Moves a running statistic towards a new value."""
    if dispatch.active[0] or {type(running), type(value)} - PLAIN or running.requires_grad:
        running.mul_(1 - momentum).add_(value, alpha=momentum)
        return
    if running._array.dtype is not value._array.dtype or not running._array.flags.writeable:
        running.mul_(1 - momentum).add_(value, alpha=momentum)
        return
    _move(running, value._array, momentum)


def _move(running: Any, value: np.ndarray, momentum: float) -> None:
    array = running._array
    array *= 1 - momentum
    array += value * momentum
    running._bump()


def _legacy_batch_norm(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
                       training: bool, momentum: float, eps: float) -> tuple:
    """The result, and the statistics that were used in training; empty ones otherwise."""
    result = ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        empty = ops.empty((0,), dtype=input.dtype, device=input.device)
        return result, empty, empty.clone()
    wide = widened(input)
    dims = (0, *range(2, len(input.shape)))
    mean = wide.mean(dims, keepdim=True)
    centred = wide - mean
    rstd = ops.rsqrt((centred * centred).mean(dims) + eps)
    return result, mean.reshape((-1,)), rstd


@composite(mutates="running_mean running_var", method=False)
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """`batch_norm`, and the means and one over the deviations of the batch."""
    return _legacy_batch_norm(input, weight, bias, running_mean, running_var, training, momentum,
                              eps)


def _normalize_by(input: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    return _scale_by(input, mean, ops.rsqrt(variance + eps), weight, bias)


def _scale_by(input: Any, mean: Any, scale: Any, weight: Any, bias: Any) -> Any:
    shape = _channel_shape(input)
    if weight is not None:
        scale = scale * widened(weight)
    shift = -mean * scale if bias is None else widened(bias) - mean * scale
    return (widened(input) * scale.reshape(shape) + shift.reshape(shape)).to(input.dtype)


# Over the last dimensions


def _last(input: Any, normalized_shape: tuple, weight: Any, bias: Any) -> tuple:
    rank = len(normalized_shape)
    if rank < 1:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., "
                           "containing at least one element, but got normalized_shape = "
                           f"{normalized_shape}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor.shape) != tuple(normalized_shape):
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(tensor.shape)} and normalized_shape = {list(normalized_shape)}")
    if tuple(input.shape[max(len(input.shape) - rank, 0):]) != tuple(normalized_shape):
        wanted = ", ".join(map(str, ("*", *normalized_shape)))
        raise RuntimeError(f"Given normalized_shape={list(normalized_shape)}, expected input with "
                           f"shape [{wanted}], but got input of size{list(input.shape)}")
    return tuple(range(len(input.shape) - rank, len(input.shape)))


def _layer_norm_spec(input: Any, normalized_shape: tuple, weight: Any, bias: Any,
                     eps: float) -> tuple:
    dims = _last(input, normalized_shape, weight, bias)
    shape = tuple(1 if i in dims else n for i, n in enumerate(input.shape))
    statistic = Spec(shape, statistics_dtype(input.dtype), input.device)
    return Spec(input.shape, input.dtype, input.device), statistic, statistic


def _layer_norm_vjp(g: tuple, out: tuple, needs: tuple, input: Any, normalized_shape: tuple,
                    weight: Any, bias: Any, eps: float) -> tuple:
    first = len(input.shape) - len(normalized_shape)
    if _only_first(g, needs):
        found = ops.layer_norm_backward(g[0], input, out[1], out[2], weight, first)
        return (found[0], None, found[1].to(weight.dtype) if needs[2] else None,
                found[2].to(bias.dtype) if needs[3] else None)
    dims = tuple(range(first, len(input.shape)))
    scale = None if weight is None else widened(weight)
    by_input, normal = moments_vjp(g, needs, input, out[1], out[2], scale, dims,
                                    numel(normalized_shape))
    by_weight = by_bias = None
    others = tuple(range(first))
    if g[0] is not None and needs[2]:
        by_weight = _sum_over(widened(g[0]) * normal, others).to(weight.dtype)
    if g[0] is not None and needs[3]:
        by_bias = _sum_over(widened(g[0]), others).to(bias.dtype)
    return by_input, None, by_weight, by_bias


def _sum_over(tensor: Any, dims: tuple) -> Any:
    return tensor.sum(dims) if dims else tensor


def _layer_norm_steps(input: Any, normalized_shape: tuple, weight: Any, bias: Any,
                      eps: float) -> tuple:
    dims = tuple(range(len(input.shape) - len(normalized_shape), len(input.shape)))
    wide = widened(input)
    mean = wide.mean(dims, keepdim=True)
    centred = wide - mean
    rstd = ops.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    result = centred * rstd
    if weight is not None:
        result = result * widened(weight)
    if bias is not None:
        result = result + widened(bias)
    return result.to(input.dtype), mean, rstd


@extern(spec=_layer_norm_spec, vjp=_layer_norm_vjp, joint=True, saves="input weight out1 out2",
        decompose=_layer_norm_steps, method=False, takes="floating")
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """The last dimensions to mean 0 and variance 1, then scaled and shifted.

    Returns the result, the means, and one over the standard deviations."""
    wanted = {input.shape[max(input.ndim - len(normalized_shape), 0):], *(
        parameter.shape for parameter in (weight, bias) if parameter is not None)}
    if not normalized_shape or wanted != {normalized_shape}:
        _layer_norm_spec(input_spec(input), normalized_shape, weight, bias, eps)
    work = widen(input)
    first = work.ndim - len(normalized_shape)
    length = numel(normalized_shape)
    rows = np.ascontiguousarray(work).reshape(-1, max(length, 1))
    scale = None if weight is None else weight.reshape(-1).astype(work.dtype, copy=False)
    shift = None if bias is None else bias.reshape(-1).astype(work.dtype, copy=False)
    result = np.empty_like(rows)
    mean, rstd = np.empty((2, len(rows), 1), work.dtype)
    step = max(1, BLOCK // max(length, 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        _normalize_rows(rows[part], result[part], mean[part], rstd[part], scale, shift, eps)
    shape = (*work.shape[:first], *[1] * len(normalized_shape))
    result = result.reshape(work.shape).astype(input.dtype, copy=False)
    return result, mean.reshape(shape), rstd.reshape(shape)


def _normalize_rows(rows: np.ndarray, result: np.ndarray, mean: np.ndarray, rstd: np.ndarray,
                    scale: Any, shift: Any, eps: float) -> None:
    """Each row to mean 0 and variance 1, scaled and shifted; also its mean and one over its
    standard deviation."""
    count = rows.dtype.type(max(rows.shape[1], 1))
    np.divide(row_sums(rows, True), count, mean)
    np.subtract(rows, mean, result)
    np.vecdot(result, result, rstd[:, 0])
    rstd /= count
    rstd += rows.dtype.type(eps)
    np.sqrt(rstd, rstd)
    np.reciprocal(rstd, rstd)
    result *= rstd
    if scale is not None:
        result *= scale
    if shift is not None:
        result += shift


def _layer_norm_forth(input: np.ndarray, normalized_shape: Any, weight: Any, bias: Any,
                      eps: float) -> tuple | None:
    """Over the last dimension, all of one type; None for what the operators have to see to. Also the
    means, and one over the deviations."""
    shape, kind = input.shape[-1:], input.dtype
    if kind not in FLOATS or tuple(normalized_shape) != shape or not input.size:
        return None
    for parameter in (weight, bias):
        if parameter is not None and (parameter.shape != shape or parameter.dtype is not kind):
            return None
    if input.size > BLOCK or not input.flags.c_contiguous:
        found = native_layer_norm.function(input, shape, weight, bias, eps)
        return found[0], found[1:]
    rows = input if input.ndim == 2 else input.reshape(-1, shape[0])
    shares, least, root = _row_constants(shape[0], eps, kind)
    mean = rows.dot(shares)
    result = rows - mean
    rstd = np.vecdot(result, result)[:, None]  # of the sum: eps and the size's root make up for it
    rstd += least
    np.sqrt(rstd, rstd)
    np.divide(root, rstd, rstd)
    result *= rstd
    if weight is not None:
        result *= weight
    if bias is not None:
        result += bias
    return result if input.ndim == 2 else result.reshape(input.shape), (mean, rstd)


@functools.lru_cache(64)
def _row_constants(length: int, eps: float, kind: np.dtype) -> tuple:
    """What averages a row as a matrix product; the size times eps; the size's root."""
    return (np.full((length, 1), 1 / length, kind), np.array(length * eps, kind),
            np.array(np.sqrt(length), kind))


def _layer_norm_at_once(*values: Any) -> np.ndarray | None:
    found = _layer_norm_forth(*values)
    return None if found is None else found[0]


def _layer_norm_back(g: np.ndarray, kept: tuple, needs: tuple, input: Any, normalized_shape: Any,
                     weight: Any, bias: Any, eps: float) -> tuple:
    found = layer_norm_backward.function(g, input, *kept, weight, input.ndim - 1)
    return found[0], None, found[1], found[2]


@composite(method=False, run=_layer_norm_at_once, forth=_layer_norm_forth, back=_layer_norm_back,
           saves="input weight")
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalizes over the last dimensions, which must be `normalized_shape`."""
    if not isinstance(normalized_shape, (tuple, list)):
        normalized_shape = (normalized_shape,)
    return ops.native_layer_norm(input, tuple(normalized_shape), weight, bias, eps)[0]


@composite(method=False)
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divides by the root mean square over the last dimensions, which must be `normalized_shape`.
    """
    if not isinstance(normalized_shape, (tuple, list)):
        normalized_shape = (normalized_shape,)
    dims = _last(input, tuple(normalized_shape), weight, None)
    wide = widened(input)
    eps = finfo(wide.dtype).eps if eps is None else eps
    result = wide * ops.rsqrt((wide * wide).mean(dims, keepdim=True) + eps)
    return (result if weight is None else result * widened(weight)).to(input.dtype)


@composite(method=False)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalizes each sample over groups of channels."""
    if len(input.shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received "
                           f"{len(input.shape)}")
    channels = input.shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, "
                           f"but got input of shape {list(input.shape)} and num_groups="
                           f"{num_groups}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor.shape) != (channels,):
            raise RuntimeError(f"Expected {name} to be a vector of size equal to the number of "
                               f"channels in input, but got {name} of shape {list(tensor.shape)} "
                               f"and input of shape {list(input.shape)}")
    size = numel(input.shape[1:]) // num_groups
    grouped = input.reshape((input.shape[0], num_groups, size))
    result = ops.native_layer_norm(grouped, (size,), None, None, eps)[0].reshape(input.shape)
    shape = _channel_shape(input)
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


@composite(mutates="running_mean running_var", method=False)
def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None,
                  use_input_stats=True, momentum=0.1, eps=1e-5):
    """Normalizes each channel of each sample over space."""
    if not use_input_stats:
        return ops.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    size = numel(input.shape[2:])
    if size == 1:
        raise ValueError("Expected more than 1 spatial element when training, got input size "
                         f"{input.shape}")
    rows = input.reshape((input.shape[0], input.shape[1], size))
    result, mean, rstd = ops.native_layer_norm(rows, (size,), None, None, eps)
    if running_mean is not None:
        running_mean.mul_(1 - momentum).add_(mean.detach().mean((0, 2)), alpha=momentum)
    if running_var is not None:
        rstd = rstd.detach()
        variance = (1 / (rstd * rstd) - eps) * (size / (size - 1))
        running_var.mul_(1 - momentum).add_(variance.mean((0, 2)), alpha=momentum)
    result, shape = result.reshape(input.shape), _channel_shape(input)
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


@composite(method=False)
def normalize(input, p=2.0, dim=1, eps=1e-12):
    """Divides by the p-norm along a dimension, or by `eps` where that is larger."""
    size = ops.norm(input, p, dim, True)
    return input / ops.clamp_min(size, eps).expand_as(input)


@composite(method=False)
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """Divides by a power of the mean square over neighbouring channels."""
    if len(input.shape) < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {len(input.shape)} "
                         "dimensions)")
    if input.numel() == 0:
        return input
    shape = (input.shape[0], 1, input.shape[1], numel(input.shape[2:]))
    square = (input * input).reshape(shape)
    padded = ops.constant_pad_nd(square, (0, 0, size // 2, (size - 1) // 2), 0)
    mean = ops.avg_pool2d(padded, (size, 1), stride=1).reshape(input.shape)
    return input / (mean * alpha + k).pow(beta)
