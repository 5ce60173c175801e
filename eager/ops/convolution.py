"""Convolutions in one, two and three dimensions. One operator computes them, two more its
derivatives by input and weight; the three are each other's derivatives, and a transposed
convolution is the derivative by input.

Kernels gather patches into columns and multiply matrices; 1x1 kernels and depthwise ones have
their own way. All results are contiguous.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from eager.call import FLOATS
from eager.dtype import float32
from eager.op import composite, extern, placed
from eager.ops.activation import widen
from eager.registry import ops
from eager.spec import Spec

# Elements of a band of columns: 1 MiB in single precision.
_BAND = 1 << 18


def expand(value: Any, count: int, name: str) -> tuple:
    """One number per dimension from a number or a sequence. Raises RuntimeError for another
    length."""
    if type(value) is int:
        return (value,) * count
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise RuntimeError(f"expected {name} to be a single value or a list of {count} values to "
                           f"match the convolution dimensions, but got {name}={list(values)}")
    return values


def _output_size(input: tuple, kernel: tuple, stride: tuple, padding: tuple,
                 dilation: tuple) -> tuple:
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                 for n, k, s, p, d in zip(input, kernel, stride, padding, dilation))


def _check(input: Any, weight: Any, bias: Any, stride: tuple, padding: tuple, dilation: tuple,
           groups: int) -> tuple:
    """The output's spatial size; raises RuntimeError in PyTorch's words for what does not fit."""
    rank = len(weight.shape) - 2
    if len(input.shape) != rank + 2:
        raise RuntimeError(f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to "
                           f"conv{rank}d, but got input of size: {list(input.shape)}")
    for name, values in (("stride", stride), ("dilation", dilation)):
        if any(v <= 0 for v in values):
            raise RuntimeError(f"non-positive {name} is not supported")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    channels = weight.shape[1] * groups
    if weight.shape[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at "
                           f"dimension 0, but got weight of size {list(weight.shape)} instead")
    if input.shape[1] != channels:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected "
            f"input{list(input.shape)} to have {channels} channels, but got {input.shape[1]} "
            "channels instead")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with "
            f"{weight.shape[0]} elements, but got bias of size {list(bias.shape)} instead")
    for other, name in ((weight, "weight"), (bias, "bias")):
        if other is not None and other.dtype != input.dtype:
            raise RuntimeError(f"Input type ({input.dtype}) and {name} type ({other.dtype}) should "
                               "be the same")
    spatial, kernel = tuple(input.shape[2:]), tuple(weight.shape[2:])
    size = _output_size(spatial, kernel, stride, padding, dilation)
    if any(n <= 0 for n in size):
        padded = " x ".join(str(n + 2 * p) for n, p in zip(spatial, padding))
        reach = " x ".join(str(d * (k - 1) + 1) for k, d in zip(kernel, dilation))
        raise RuntimeError(f"Calculated padded input size per channel: ({padded}). Kernel size: "
                           f"({reach}). Kernel size can't be greater than actual input size")
    return size


# Kernels


def _pad(input: np.ndarray, padding: tuple) -> np.ndarray:
    if not any(padding):
        return np.ascontiguousarray(input)
    shape, inner = _padding(input.shape, padding)
    padded = np.zeros(shape, input.dtype)
    padded[inner] = input
    return padded


@functools.lru_cache(256)
def _padding(shape: tuple, padding: tuple) -> tuple:
    """The shape of a padded array, and where the array is in it."""
    outer = tuple([n + 2 * p for n, p in zip(shape[2:], padding)])
    inner = [slice(p, p + n) for n, p in zip(shape[2:], padding)]
    return shape[:2] + outer, (slice(None), slice(None), *inner)


def _taps(kernel: tuple, size: tuple, stride: tuple, dilation: tuple) -> Iterator[tuple]:
    """For each kernel position: its index, and the slices of the padded input that it meets."""
    for at in itertools.product(*map(range, kernel)):
        yield at, tuple(slice(i * d, i * d + (n - 1) * s + 1, s)
                        for i, n, s, d in zip(at, size, stride, dilation))


def _patches(sample: np.ndarray, kernel: tuple, size: tuple, stride: tuple,
             dilation: tuple) -> np.ndarray:
    """A view of one padded sample (channels, ...) as (channels, *kernel, *size)."""
    channel, *steps = sample.strides
    return placed(
        sample, (sample.shape[0], *kernel, *size),
        (channel, *(s * d for s, d in zip(steps, dilation)),
         *(s * t for s, t in zip(steps, stride))))


def _count(sizes: tuple) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _bands(rows: int, size: tuple) -> Iterator[tuple]:
    """Parts of the output's first dimension whose columns stay in the cache, and where they lie in a
    plane of it."""
    across = _count(size[1:])
    step = max(1, _BAND // max(rows * across, 1))
    for start in range(0, size[0], step):
        stop = min(start + step, size[0])
        yield slice(start, stop), slice(start * across, stop * across)


def _is_plain(kernel: tuple, stride: tuple, padding: tuple) -> bool:
    return max(kernel) == max(stride) == 1 and not any(padding)


def _is_depthwise(weight: np.ndarray, groups: int) -> bool:
    return groups > 1 and weight.shape[1] == 1 and weight.shape[0] == groups


def _convolve(input: np.ndarray, weight: np.ndarray, size: tuple, stride: tuple, padding: tuple,
              dilation: tuple, groups: int) -> np.ndarray:
    samples, outputs, kernel = input.shape[0], weight.shape[0], weight.shape[2:]
    result = np.empty((samples, outputs, *size), input.dtype)
    flat = weight.reshape(groups, outputs // groups, weight.shape[1] * _count(kernel))
    rows, length = flat.shape[2], _count(size)
    if _is_plain(kernel, stride, padding):
        whole = np.ascontiguousarray(input).reshape(samples, groups, rows, length)
        np.matmul(flat, whole, out=result.reshape(samples, groups, outputs // groups, length))
        return result
    padded = _pad(input, padding)
    if _is_depthwise(weight, groups):
        result.fill(0)
        together = max(1, (_BAND >> 4) // max(length, 1))
        for sample, first in itertools.product(range(samples), range(0, outputs, together)):
            part = slice(first, first + together)
            planes, filled = padded[sample, part], result[sample, part]
            for at, place in _taps(kernel, size, stride, dilation):
                tap = weight[(part, 0, *at)].reshape(-1, *[1] * len(size))
                filled += planes[(slice(None), *place)] * tap
        return result
    if groups == 1 and rows * length <= _BAND:
        for sample in range(samples):
            patches = _patches(padded[sample], kernel, size, stride, dilation)
            product = flat[0].dot(patches.reshape(rows, length))
            result[sample] = product.reshape(outputs, *size)
        return result
    for sample in range(samples):
        patches = _patches(padded[sample], kernel, size, stride, dilation)
        filled = result[sample].reshape(groups, outputs // groups, length)
        for band, place in _bands(rows * groups, size):
            columns = patches[(..., band, *[slice(None)] * (len(size) - 1))]
            columns = columns.reshape(groups, rows, place.stop - place.start)
            np.matmul(flat, columns, out=filled[:, :, place])
    return result


def _is_exact(spatial: tuple, size: tuple, reach: tuple, padding: tuple) -> bool:
    """Whether every point of the input is under some patch, as without output padding."""
    return all(n == m + r - p for n, m, r, p in zip(spatial, size, reach, padding))


def _scatter(g: np.ndarray, weight: np.ndarray, spatial: tuple, stride: tuple, padding: tuple,
             dilation: tuple, groups: int) -> np.ndarray:
    """The derivative by input: every output value spread over the patch it came from."""
    samples, outputs, kernel, size = g.shape[0], weight.shape[0], weight.shape[2:], g.shape[2:]
    channels, length = weight.shape[1] * groups, _count(size)
    reach = tuple(d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation))
    if all(s == 1 for s in stride) and min(reach) >= 0 and _is_exact(spatial, size, reach, padding):
        # without steps a patch is also what reaches a point: gathering is cheaper than spreading
        turned = weight.reshape(groups, outputs // groups, *weight.shape[1:]).swapaxes(1, 2)
        turned = np.flip(turned, tuple(range(3, turned.ndim)))
        turned = np.ascontiguousarray(turned).reshape(channels, outputs // groups, *kernel)
        return _convolve(g, turned, spatial, stride, reach, dilation, groups)
    flat = weight.reshape(groups, outputs // groups, weight.shape[1] * _count(kernel))
    turned = np.ascontiguousarray(flat.transpose(0, 2, 1))
    g = np.ascontiguousarray(g).reshape(samples, groups, outputs // groups, length)
    if _is_plain(kernel, stride, padding):
        return np.matmul(turned, g).reshape(samples, channels, *spatial)
    # at least as far as the last patch reaches
    shape = tuple(max(n + 2 * p, (m - 1) * s + d * (k - 1) + 1) for n, p, m, s, d, k in zip(
        spatial, padding, size, stride, dilation, kernel))
    padded = np.zeros((samples, channels, *shape), g.dtype)
    if _is_depthwise(weight, groups):
        g = g.reshape(samples, channels, *size)
        for at, place in _taps(kernel, size, stride, dilation):
            tap = weight[(slice(None), 0, *at)].reshape(-1, *[1] * len(size))
            padded[(slice(None), slice(None), *place)] += g * tap
    else:
        for sample in range(samples):
            columns = np.matmul(turned, g[sample]).reshape(channels, *kernel, *size)
            for at, place in _taps(kernel, size, stride, dilation):
                padded[(sample, slice(None), *place)] += columns[(slice(None), *at)]
    inner = tuple(slice(p, p + n) for n, p in zip(spatial, padding))
    return np.ascontiguousarray(padded[(slice(None), slice(None), *inner)])


def _correlate(g: np.ndarray, input: np.ndarray, kernel: tuple, stride: tuple, padding: tuple,
               dilation: tuple, groups: int) -> np.ndarray:
    """The derivative by weight: outputs against the patches they came from, over all samples."""
    samples, outputs, size = g.shape[0], g.shape[1], g.shape[2:]
    inputs, length = input.shape[1] // groups, _count(size)
    flat = np.ascontiguousarray(g).reshape(samples, groups, outputs // groups, length)
    padded = _pad(input, padding)
    if inputs == 1 and outputs == groups and groups > 1:
        result = np.empty((outputs, 1, *kernel), g.dtype)
        g = flat.reshape(samples, outputs, length)
        for at, place in _taps(kernel, size, stride, dilation):
            met = padded[(slice(None), slice(None), *place)].reshape(samples, outputs, length)
            result[(slice(None), 0, *at)] = np.einsum("ncl,ncl->c", g, met)
        return result
    total = np.zeros((groups, outputs // groups, inputs * _count(kernel)), g.dtype)
    for sample in range(samples):
        patches = _patches(padded[sample], kernel, size, stride, dilation)
        for band, place in _bands(total.shape[2] * groups, size):
            columns = patches[(..., band, *[slice(None)] * (len(size) - 1))]
            columns = columns.reshape(groups, total.shape[2], place.stop - place.start)
            total += np.matmul(flat[sample][:, :, place], columns.transpose(0, 2, 1))
    return total.reshape(outputs, inputs, *kernel)


# Operators


def _input_grad_spec(g: Any, weight: Any, spatial: tuple, stride: tuple, padding: tuple,
                     dilation: tuple, groups: int) -> Spec:
    if g.shape[1] != weight.shape[0]:
        rank = len(weight.shape) - 2
        raise RuntimeError(
            f"Given transposed={rank and 1}, weight of size {list(weight.shape)}, expected input"
            f"{list(g.shape)} to have {weight.shape[0]} channels, but got {g.shape[1]} channels "
            "instead")
    if g.dtype != weight.dtype:
        raise RuntimeError(f"Input type ({g.dtype}) and weight type ({weight.dtype}) should be "
                           "the same")
    return Spec((g.shape[0], weight.shape[1] * groups, *spatial), g.dtype, g.device)


def _input_grad_vjp(u: Any, out: Any, needs: tuple, g: Any, weight: Any, spatial: tuple,
                    *how: Any) -> tuple:
    return (_as_far(ops.convolution(u, _conj(weight), None, *how), g.shape) if needs[0] else None,
            ops.convolution_weight_grad(_conj(g), u, weight.shape[2:], *how) if needs[1] else None)


def _conj(x: Any) -> Any:
    return ops.conj(x) if x.dtype.is_complex else x


def _as_far(found: Any, shape: tuple) -> Any:
    """Without what a large output padding adds at the ends."""
    for dim in range(2, len(shape)):
        if found.shape[dim] != shape[dim]:
            found = ops.narrow(found, dim, 0, shape[dim])
    return found


@extern(spec=_input_grad_spec, vjp=_input_grad_vjp, joint=True, method=False, takes="number")
def convolution_input_grad(g, weight, spatial, stride, padding, dilation, groups):
    """The gradient of a convolution by its input of spatial size `spatial`; a transposed
    convolution."""
    if g.shape[1] != weight.shape[0] or g.dtype != weight.dtype:
        raise ValueError("channels or types do not match")
    return _scatter(widen(g), widen(weight), spatial, stride, padding, dilation,
                    groups).astype(g.dtype, copy=False)


def _weight_grad_vjp(u: Any, out: Any, needs: tuple, g: Any, input: Any, kernel: tuple,
                     *how: Any) -> tuple:
    return (_as_far(ops.convolution(_conj(input), u, None, *how), g.shape) if needs[0] else None,
            ops.convolution_input_grad(_conj(g), u, input.shape[2:], *how) if needs[1] else None)


@extern(spec=lambda g, input, kernel, stride, padding, dilation, groups: Spec(
            (g.shape[1], input.shape[1] // groups, *kernel), g.dtype, g.device),
        vjp=_weight_grad_vjp, joint=True, method=False)
def convolution_weight_grad(g, input, kernel, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight of kernel size `kernel`."""
    return _correlate(widen(g), widen(input), kernel, stride, padding, dilation,
                      groups).astype(g.dtype, copy=False)


def _convolution_spec(input: Any, weight: Any, bias: Any, *how: Any) -> Spec:
    size = _check(input, weight, bias, *how)
    return Spec((input.shape[0], weight.shape[0], *size), input.dtype, input.device)


def _convolution_vjp(g: Any, out: Any, needs: tuple, input: Any, weight: Any, bias: Any,
                     *how: Any) -> tuple:
    by_input = by_weight = by_bias = None
    if needs[0]:
        by_input = ops.convolution_input_grad(g, _conj(weight), input.shape[2:], *how)
    if needs[1]:
        by_weight = ops.convolution_weight_grad(g, _conj(input), weight.shape[2:], *how)
    if len(needs) > 2 and needs[2]:
        by_bias = g.sum((0, *range(2, len(g.shape))))
    return (by_input, by_weight, by_bias)[:len(needs)]


@extern(spec=_convolution_spec, vjp=_convolution_vjp, joint=True, saves="input weight",
        method=False, takes="number")
def convolution(input, weight, bias, stride, padding, dilation, groups):
    """The convolution of batched input (samples, channels, ...); one number per dimension in each
    tuple."""
    size = _check(input, weight, bias, stride, padding, dilation, groups)
    result = _convolve(widen(input), widen(weight), size, stride, padding, dilation, groups)
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(size))
    return result.astype(input.dtype, copy=False)


def _one_sided(input: Any, weight: Any, padding: Any, stride: tuple, dilation: tuple,
               rank: int) -> tuple:
    """Input and padding for `padding="same"`: an odd amount is padded on the right first."""
    if padding == "valid":
        return input, (0,) * rank
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation)]
    if any(total % 2 for total in totals):
        widths = [width for total in reversed(totals) for width in (0, total % 2)]
        input = ops.constant_pad_nd(input, tuple(widths), 0)
    return input, tuple(total // 2 for total in totals)


def _forward(rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
             dilation: Any, groups: int) -> Any:
    if len(weight.shape) != rank + 2:
        raise RuntimeError(f"expected {rank + 2}-dimensional weight for {rank + 2}-dimensional "
                           f"input {list(input.shape)}, but got {len(weight.shape)}-dimensional "
                           f"weight of size {list(weight.shape)} instead")
    if len(input.shape) == rank + 1:
        result = _forward(rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups)
        return result.squeeze(0)
    stride, dilation = expand(stride, rank, "stride"), expand(dilation, rank, "dilation")
    if isinstance(padding, str):
        input, padding = _one_sided(input, weight, padding, stride, dilation, rank)
    padding = expand(padding, rank, "padding")
    return ops.convolution(input, weight, bias, stride, padding, dilation, groups)


def _prepared(input: np.ndarray, weight: np.ndarray, bias: Any, stride: Any, padding: Any,
              dilation: Any, groups: int) -> tuple | None:
    """The geometry, where operands are batched and of one type; None for what the operators have to
    see to."""
    kind = input.dtype
    if kind not in FLOATS or weight.dtype is not kind or input.ndim != weight.ndim:
        return None
    if type(padding) is str or bias is not None and bias.dtype is not kind:
        return None
    return _geometry(input.shape, weight.shape, None if bias is None else bias.shape, stride,
                     padding, dilation, groups)


@functools.lru_cache(256)
def _geometry(input: tuple, weight: tuple, bias: tuple | None, stride: Any, padding: Any,
              dilation: Any, groups: int) -> tuple:
    """The output's spatial size; stride, padding and dilation by dimension."""
    rank = len(weight) - 2
    how = (expand(stride, rank, "stride"), expand(padding, rank, "padding"),
           expand(dilation, rank, "dilation"))
    shift = None if bias is None else Spec(bias, float32)
    return _check(Spec(input, float32), Spec(weight, float32), shift, *how, groups), *how


def _convolve_at_once(rank: int) -> Any:
    def run(input: np.ndarray, weight: np.ndarray, bias: Any, stride: Any, padding: Any,
            dilation: Any, groups: int) -> np.ndarray | None:
        how = _prepared(input, weight, bias, stride, padding, dilation, groups)
        if how is None or weight.ndim != rank + 2:
            return None
        size, stride, padding, dilation = how
        result = _convolve(input, weight, size, stride, padding, dilation, groups)
        if bias is not None:
            result += bias.reshape(-1, *[1] * rank)
        return result

    return run


def _convolve_back(g: np.ndarray, kept: Any, needs: tuple, input: Any, weight: Any, bias: Any,
                   stride: Any, padding: Any, dilation: Any, groups: int) -> tuple:
    shape = None if bias is None else bias.shape
    how = (*_geometry(input.shape, weight.shape, shape, stride, padding, dilation, groups)[1:], groups)
    return (_scatter(g, weight, input.shape[2:], *how) if needs[0] else None,
            _correlate(g, input, weight.shape[2:], *how) if needs[1] else None,
            g.sum((0, *range(2, g.ndim))) if needs[2] else None)


def _convolution(function: Any) -> Any:
    """A convolution that eager computes at once."""
    return composite(function, method=False, run=_convolve_at_once(int(function.__name__[4])),
                     back=_convolve_back, saves="input:weight weight:input")


@_convolution
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (samples, channels, length), or of one sample."""
    return _forward(1, input, weight, bias, stride, padding, dilation, groups)


@_convolution
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (samples, channels, height, width), or of one sample."""
    return _forward(2, input, weight, bias, stride, padding, dilation, groups)


@_convolution
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (samples, channels, depth, height, width), or of one sample."""
    return _forward(3, input, weight, bias, stride, padding, dilation, groups)


def _transposed(rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
                output_padding: Any, groups: int, dilation: Any) -> Any:
    if len(input.shape) == rank + 1:
        result = _transposed(rank, input.unsqueeze(0), weight, bias, stride, padding,
                             output_padding, groups, dilation)
        return result.squeeze(0)
    if len(input.shape) != rank + 2:
        raise RuntimeError(f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to "
                           f"conv_transpose{rank}d, but got input of size: {list(input.shape)}")
    stride, padding = expand(stride, rank, "stride"), expand(padding, rank, "padding")
    extra = expand(output_padding, rank, "output_padding")
    dilation = expand(dilation, rank, "dilation")
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation)):
        raise RuntimeError("output padding must be smaller than either stride or dilation, but got "
                           f"output_padding: {list(extra)}, stride: {list(stride)}, "
                           f"dilation: {list(dilation)}")
    spatial = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in zip(
        input.shape[2:], weight.shape[2:], stride, padding, dilation, extra))
    result = ops.convolution_input_grad(input, weight, spatial, stride, padding, dilation, groups)
    return result if bias is None else result + bias.reshape((-1,) + (1,) * rank)


@composite(method=False)
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    """The transposed convolution of (samples, channels, length), or of one sample."""
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(method=False)
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    """The transposed convolution of (samples, channels, height, width), or of one sample."""
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(method=False)
def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    """The transposed convolution of volumes, or of one volume."""
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
