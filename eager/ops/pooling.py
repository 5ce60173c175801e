"""Pooling over windows: maximum (with or without indices), average, and their adaptive forms. Each
kind is one operator over any number of spatial dimensions; the operators by dimension prepare its
parameters.

An index counts positions in a plane of the input, as PyTorch's do. All results are contiguous.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from eager.autograd import is_grad_enabled
from eager.blocks import BLOCK, sums
from eager.call import FLOATS
from eager.dtype import float32, int64
from eager.op import composite, extern, require
from eager.ops.convolution import expand
from eager.registry import ops
from eager.spec import Spec


def _windows(spatial: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple,
             ceil_mode: bool) -> tuple:
    """The number of windows along each dimension. Raises RuntimeError for windows that do not fit.
    """
    sizes = []
    for n, k, s, p, d in zip(spatial, kernel, stride, padding, dilation):
        if k <= 0 or s <= 0 or d <= 0:
            raise RuntimeError("pooling: kernel size, stride and dilation should be greater than "
                               f"zero, but got {k}, {s}, {d}")
        if p < 0 or p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got "
                               f"pad={p}, kernel_size={k} and dilation={d}")
        reach = n + 2 * p - d * (k - 1) - 1
        size = (reach + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (size - 1) * s >= n + p:  # a window that starts in the right padding
            size = size - 1
        if size <= 0:
            raise RuntimeError(f"Given input size {list(spatial)}, calculated output size would be "
                               "too small")
        sizes.append(size)
    return tuple(sizes)


def _parameters(rank: int, input: Any, kernel: Any, stride: Any, padding: Any,
                dilation: Any) -> tuple:
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(f"Expected {rank + 1}D or {rank + 2}D input to pool{rank}d, but got "
                           f"input of size {list(input.shape)}")
    if any(n == 0 for n in input.shape[len(input.shape) - rank - 1:]):
        raise RuntimeError(f"pool{rank}d: Expected {rank + 1}D or {rank + 2}D input with optional 0 "
                           "dim batch size and otherwise dimensions of positive length, but got: "
                           f"{list(input.shape)}")
    kernel = expand(kernel, rank, "kernel_size")
    stride = expand(kernel if stride is None or len_of(stride) == 0 else stride, rank, "stride")
    return kernel, stride, expand(padding, rank, "padding"), expand(dilation, rank, "dilation")


def len_of(value: Any) -> int:
    """The length of a sequence; 1 for a number."""
    return len(value) if isinstance(value, (tuple, list)) else 1


def _lay_out(input: np.ndarray, rank: int, size: tuple, kernel: tuple, stride: tuple,
             padding: tuple, dilation: tuple, fill: Any) -> np.ndarray:
    """The input as (planes, *spatial), padded with `fill` as far as the windows reach."""
    planes = input.reshape(-1, *input.shape[input.ndim - rank:])
    reach = [(m - 1) * s + d * (k - 1) + 1 for m, s, d, k in zip(size, stride, dilation, kernel)]
    if not any(padding) and all(r <= n for r, n in zip(reach, planes.shape[1:])):
        return planes
    shape = [max(r, n + p) for r, n, p in zip(reach, planes.shape[1:], padding)]
    for i, p in enumerate(padding):
        shape[i] = max(shape[i], planes.shape[i + 1] + p)
    padded = np.full((planes.shape[0], *shape), fill, input.dtype)
    inner = tuple(slice(p, p + n) for p, n in zip(padding, planes.shape[1:]))
    padded[(slice(None), *inner)] = planes
    return padded


def _places(size: tuple, kernel: tuple, stride: tuple, dilation: tuple) -> Any:
    for at in itertools.product(*map(range, kernel)):
        yield at, (slice(None), *(slice(i * d, i * d + (m - 1) * s + 1, s)
                                  for i, m, s, d in zip(at, size, stride, dilation)))


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind not in "iub" else np.iinfo(dtype).min


def _pooled_shape(input: Any, size: tuple) -> tuple:
    return (*input.shape[:len(input.shape) - len(size)], *size)


# Maximum


def _max_pool_spec(input: Any, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple,
                   ceil_mode: bool) -> Spec:
    spatial = input.shape[len(input.shape) - len(kernel):]
    size = _windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    return Spec(_pooled_shape(input, size), input.dtype, input.device)


def _max_pool_vjp(g: Any, out: Any, input: Any, *how: Any) -> Any:
    if not is_grad_enabled():
        return ops.max_pool_backward(g, input, *how)
    return _by_indices(g, input, *how)


def _by_indices(g: Any, input: Any, *how: Any) -> Any:
    indices = ops.max_pool_with_indices(input.detach(), *how)[1]
    return ops.max_pool_input_grad(g, indices, input.shape[len(input.shape) - len(how[0]):])


@extern(spec=_max_pool_spec, vjp=_max_pool_vjp, method=False, takes="real")
def max_pool(input, kernel, stride, padding, dilation, ceil_mode):
    """The largest value of each window."""
    rank = len(kernel)
    size = _windows(input.shape[input.ndim - rank:], kernel, stride, padding, dilation, ceil_mode)
    found = _gathered(input, rank, size, kernel, stride, padding, dilation)
    if found is not None:
        return np.maximum.reduce(found, axis=1).reshape(_pooled_shape(input, size))
    values = _lay_out(input, rank, size, kernel, stride, padding, dilation, _lowest(input.dtype))
    for axis, (m, k, s, d) in enumerate(zip(size, kernel, stride, dilation), start=1):
        values = _along_windows(np.maximum, values, axis, m, k, s, d)
    return np.ascontiguousarray(values).reshape(_pooled_shape(input, size))


_GATHERED = 1 << 12  # elements of windows up to which gathering them is quickest


@functools.lru_cache(256)
def _members(spatial: tuple, size: tuple, kernel: tuple, stride: tuple, padding: tuple,
             dilation: tuple) -> np.ndarray:
    """The positions in a plane of each window's elements, (elements, windows); one outside the plane
    shows the nearest of its window inside."""
    place = np.zeros((1, 1), np.int64)
    for n, m, k, s, p, d in zip(spatial, size, kernel, stride, padding, dilation):
        start = np.arange(m)[None, :] * s - p
        at = start + np.arange(k)[:, None] * d
        first = start + -(-np.maximum(-start, 0) // d) * d
        last = start + np.minimum((n - 1 - start) // d, k - 1) * d
        at = np.clip(at, first, last)
        place = (place[:, None, :, None] * n + at[None, :, None, :]).reshape(
            place.shape[0] * k, place.shape[1] * m)
    return place


def _gathered(input: np.ndarray, rank: int, size: tuple, kernel: tuple, stride: tuple,
              padding: tuple, dilation: tuple) -> np.ndarray | None:
    """The elements of each window, (planes, elements, windows), where there are few."""
    spatial = input.shape[input.ndim - rank:]
    if input.size * _plane(kernel) > _GATHERED or not input.size:
        return None
    members = _members(spatial, size, kernel, stride, padding, dilation)
    return input.reshape(-1, _plane(spatial)).take(members, 1)


def _along_windows(ufunc: np.ufunc, values: np.ndarray, axis: int, m: int, k: int, s: int,
                   d: int) -> np.ndarray:
    """The `k` elements of each of `m` windows along a dimension, combined: windows of several
    dimensions one dimension after another, which is less work than all their elements at once."""
    before = (slice(None),) * axis
    reach = (m - 1) * s + 1
    result = values[(*before, slice(0, reach, s))]
    if k == 1:
        return result.copy()
    result = ufunc(result, values[(*before, slice(d, d + reach, s))])
    for i in range(2, k):
        ufunc(result, values[(*before, slice(i * d, i * d + reach, s))], out=result)
    return result


def _route(g: np.ndarray, values: np.ndarray, spread: np.ndarray, size: tuple, kernel: tuple,
           stride: tuple, dilation: tuple) -> None:
    """Adds each gradient to the first of its window's largest values; NaN counts as largest."""
    best: Any = None
    for _, place in _places(size, kernel, stride, dilation):
        met = values[place]
        best = met.copy() if best is None else np.maximum(best, met, out=best)
    left = np.ones(g.shape, bool)
    unordered = np.isnan(best)
    some = bool(unordered.any())
    for _, place in _places(size, kernel, stride, dilation):
        hit = values[place] == best
        if some:
            hit |= unordered & np.isnan(values[place])
        hit &= left
        left ^= hit
        spread[place] += g * hit


@extern(spec=lambda g, input, *how: Spec(input.shape, input.dtype, input.device), method=False,
        decompose=_by_indices)
def max_pool_backward(g, input, kernel, stride, padding, dilation, ceil_mode):
    """The gradient of `max_pool` by its input, where no derivative of it is wanted."""
    rank = len(kernel)
    spatial, size = input.shape[input.ndim - rank:], g.shape[g.ndim - rank:]
    values = _lay_out(input, rank, size, kernel, stride, padding, dilation, _lowest(input.dtype))
    spread = np.zeros(values.shape, g.dtype)
    planes = g.reshape(len(values), *size)
    step = max(1, 2 * BLOCK // max(_plane(values.shape[1:]), 1))
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        _route(planes[part], values[part], spread[part], size, kernel, stride, dilation)
    inner = tuple(slice(p, p + n) for p, n in zip(padding, spatial))
    return np.ascontiguousarray(spread[(slice(None), *inner)]).reshape(input.shape)


def _max_pool_indices_spec(input: Any, *how: Any) -> tuple:
    spec = _max_pool_spec(input, *how)
    return spec, Spec(spec.shape, int64, spec.device)


def _max_pool_indices_vjp(g: tuple, out: tuple, input: Any, kernel: tuple, *how: Any) -> Any:
    return ops.max_pool_input_grad(g[0], out[1], input.shape[len(input.shape) - len(kernel):])


@extern(spec=_max_pool_indices_spec, vjp=_max_pool_indices_vjp, saves="out1", method=False,
        takes="real")
def max_pool_with_indices(input, kernel, stride, padding, dilation, ceil_mode):
    """The largest value of each window (the first of equal ones), and where it is in its plane."""
    rank = len(kernel)
    spatial = input.shape[input.ndim - rank:]
    size = _windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    values = _lay_out(input, rank, size, kernel, stride, padding, dilation, _lowest(input.dtype))
    best = where = None
    for at, place in _places(size, kernel, stride, dilation):
        met = values[place]
        position = _positions(at, size, stride, padding, dilation, spatial)
        if best is None:
            best, where = met.copy(), np.broadcast_to(position, met.shape).copy()
            inside = _inside(at, size, stride, padding, dilation, spatial)
            continue
        now = _inside(at, size, stride, padding, dilation, spatial)
        better = ((met > best) | np.isnan(met) | ~inside) & now
        inside = inside | now
        np.copyto(best, met, where=better)
        np.copyto(where, position, where=better)
    shape = _pooled_shape(input, size)
    return np.ascontiguousarray(best).reshape(shape), where.reshape(shape)


def _coordinates(at: tuple, size: tuple, stride: tuple, padding: tuple, dilation: tuple) -> list:
    """Where kernel position `at` meets the input, one broadcasting array per dimension."""
    rank = len(at)
    return [(np.arange(m) * s + i * d - p).reshape([-1 if j == axis else 1 for j in range(rank)])
            for axis, (i, m, s, p, d) in enumerate(zip(at, size, stride, padding, dilation))]


def _positions(at: tuple, size: tuple, stride: tuple, padding: tuple, dilation: tuple,
               spatial: tuple) -> np.ndarray:
    position = np.zeros((1,) * len(at), np.int64)
    for n, coordinate in zip(spatial, _coordinates(at, size, stride, padding, dilation)):
        position = position * n + coordinate
    return position


def _inside(at: tuple, size: tuple, stride: tuple, padding: tuple, dilation: tuple,
            spatial: tuple) -> np.ndarray:
    inside = np.ones((1,) * len(at), bool)
    for n, coordinate in zip(spatial, _coordinates(at, size, stride, padding, dilation)):
        inside = inside & (coordinate >= 0) & (coordinate < n)
    return inside


def _plane(spatial: tuple) -> Any:
    count = 1
    for n in spatial:
        count = count * n
    return count


def _gather_positions(u: Any, indices: Any, rank: int) -> Any:
    """The values of each plane at the indices; the derivative of spreading them."""
    lead = tuple(u.shape[:len(u.shape) - rank])
    flat = u.reshape((*lead, _plane(u.shape[len(lead):])))
    places = indices.reshape((*lead, _plane(indices.shape[len(lead):])))
    return ops.gather(flat, len(lead), places).reshape(indices.shape)


@extern(spec=lambda g, indices, spatial: Spec(
            (*g.shape[:len(g.shape) - len(spatial)], *spatial), g.dtype, g.device),
        vjp=lambda u, out, g, indices, spatial: _gather_positions(u, indices, len(spatial)),
        saves="indices", method=False)
def max_pool_input_grad(g, indices, spatial):
    """Each value added at its index in a plane of zeros; also undoes a pooling."""
    rank = len(spatial)
    lead, plane = g.shape[:g.ndim - rank], _plane(spatial)
    planes = _plane(lead)
    flat = indices.reshape(planes, _plane(g.shape[g.ndim - rank:]))
    flat = flat + np.arange(planes)[:, None] * plane
    total = np.bincount(flat.ravel(), g.astype(np.float64, copy=False).ravel(), planes * plane)
    return total.astype(g.dtype).reshape(*lead, *spatial)


def _max_pool(rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
              ceil_mode: bool, return_indices: bool) -> Any:
    how = _parameters(rank, input, kernel_size, stride, padding, dilation)
    op = ops.max_pool_with_indices if return_indices else ops.max_pool
    return op(input, *how, ceil_mode)


@functools.lru_cache(256)
def _plan(rank: int, shape: tuple, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
          ceil_mode: bool) -> tuple:
    """Kernel, stride, padding and dilation by dimension; the shape of the result; and where few
    enough elements meet, where they are: the shape of the planes, and the windows' members."""
    how = _parameters(rank, Spec(shape, float32), kernel_size, stride, padding, dilation)
    spatial, (kernel, steps, widths, gaps) = shape[len(shape) - rank:], how
    size = _windows(spatial, kernel, steps, widths, gaps, ceil_mode)
    result, count = (*shape[:len(shape) - rank], *size), _plane(shape)
    if count * _plane(how[0]) > _GATHERED or not count:
        return how, result, None, None
    return how, result, (-1, _plane(spatial)), _members(spatial, size, *how)


def _max_pool_at_once(rank: int) -> Any:
    def run(input: np.ndarray, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
            ceil_mode: bool, return_indices: bool) -> np.ndarray | None:
        if return_indices or input.dtype not in FLOATS:
            return None
        how, shape, planes, members = _plan(rank, input.shape, kernel_size, stride, padding,
                                            dilation, ceil_mode)
        if members is None:
            return max_pool.function(input, *how, ceil_mode)
        found = input.reshape(planes).take(members, 1)
        return np.maximum.reduce(found, axis=1).reshape(shape)

    return run


def _max_pool_back(rank: int) -> Any:
    def back(g: np.ndarray, kept: Any, needs: tuple, input: np.ndarray, kernel_size: Any,
             stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: bool) -> tuple:
        how, shape, _, _ = _plan(rank, input.shape, kernel_size, stride, padding, dilation,
                                 ceil_mode)
        if g.size * _plane(how[0]) > 1 << 17:
            return (max_pool_backward.function(g, input, *how, ceil_mode),)
        spatial = input.shape[input.ndim - rank:]
        members = _members(spatial, shape[len(shape) - rank:], *how)
        planes = input.reshape(-1, _plane(spatial))
        best = planes.take(members, 1).argmax(axis=1)  # the first of equal ones; NaN is largest
        places = members[best, np.arange(members.shape[1])]
        places += np.arange(len(planes))[:, None] * planes.shape[1]
        total = np.bincount(places.ravel(), g.ravel(), planes.size)
        return (total.astype(g.dtype).reshape(input.shape),)

    return back


def _pool(back: Any, run: Any, saves: str = "input") -> Any:
    """A pooling that eager computes at once."""

    def declare(function: Any) -> Any:
        rank = int(function.__name__[-2])
        return composite(function, method=False, run=run(rank), back=back(rank), saves=saves)

    return declare


@_pool(_max_pool_back, _max_pool_at_once)
def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
               return_indices=False):
    """The largest value of each window of a line."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@_pool(_max_pool_back, _max_pool_at_once)
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
               return_indices=False):
    """The largest value of each window of an image."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@_pool(_max_pool_back, _max_pool_at_once)
def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
               return_indices=False):
    """The largest value of each window of a volume."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# Average


def _divisors(spatial: tuple, size: tuple, kernel: tuple, stride: tuple, padding: tuple,
              count_include_pad: bool, divisor_override: int | None) -> Any:
    """By what each window's sum is divided: a number, or an array that broadcasts over planes."""
    if divisor_override is not None:
        return float(divisor_override)
    if not any(padding) and all((m - 1) * s + k <= n for n, m, k, s in zip(
            spatial, size, kernel, stride)):  # all windows lie inside
        return float(_plane(kernel))
    result = np.ones((1,) * len(size))
    for axis, (n, m, k, s, p) in enumerate(zip(spatial, size, kernel, stride, padding)):
        start = np.arange(m) * s - p
        if count_include_pad:
            length = np.minimum(start + k, n + p) - start
        else:
            length = np.minimum(start + k, n) - np.maximum(start, 0)
        result = result * length.reshape([-1 if j == axis else 1 for j in range(len(size))])
    return result


def _avg_pool_spec(input: Any, kernel: tuple, stride: tuple, padding: tuple, ceil_mode: bool,
                   count_include_pad: bool, divisor_override: int | None) -> Spec:
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    return _max_pool_spec(input, kernel, stride, padding, (1,) * len(kernel), ceil_mode)


def _avg_pool_vjp(g: Any, out: Any, input: Any, *how: Any) -> Any:
    return ops.avg_pool_input_grad(g, input.shape[len(input.shape) - len(how[0]):], *how)


@extern(spec=_avg_pool_spec, vjp=_avg_pool_vjp, saves="", method=False, takes="real")
def avg_pool(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """The mean of each window."""
    rank, dilation = len(kernel), (1,) * len(kernel)
    if divisor_override == 0:
        raise ValueError("divisor must be not zero")
    spatial = input.shape[input.ndim - rank:]
    size = _windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    if not (any(padding) or ceil_mode or divisor_override) and input.dtype in FLOATS:
        found = _gathered(input, rank, size, kernel, stride, padding, dilation)
        if found is not None:
            total = np.add.reduce(found, axis=1)
            total /= _plane(kernel)
            return total.reshape(_pooled_shape(input, size))
    values = _lay_out(input, rank, size, kernel, stride, padding, dilation, 0)
    kind = np.float32 if input.dtype.itemsize == 2 else input.dtype
    total = values.astype(kind, copy=False)
    for axis, (m, k, s) in enumerate(zip(size, kernel, stride), start=1):
        total = _along_windows(np.add, total, axis, m, k, s, 1)
    total = np.ascontiguousarray(total)
    shares = _divisors(spatial, size, kernel, stride, padding, count_include_pad, divisor_override)
    if total.dtype.kind in "iu":  # integers are divided as in C
        return np.trunc(total / shares).astype(input.dtype).reshape(_pooled_shape(input, size))
    total /= shares
    return total.astype(input.dtype, copy=False).reshape(_pooled_shape(input, size))


@extern(spec=lambda g, spatial, *how: Spec(
            (*g.shape[:len(g.shape) - len(spatial)], *spatial), g.dtype, g.device),
        vjp=lambda u, out, g, spatial, *how: ops.avg_pool(u, *how), saves="", method=False)
def avg_pool_input_grad(g, spatial, kernel, stride, padding, ceil_mode, count_include_pad,
                        divisor_override):
    """Each value spread evenly over the window it is the mean of."""
    rank, dilation = len(kernel), (1,) * len(kernel)
    size, lead = g.shape[g.ndim - rank:], g.shape[:g.ndim - rank]
    share = g.reshape(-1, *size) / _divisors(
        spatial, size, kernel, stride, padding, count_include_pad, divisor_override)
    shape = [max((m - 1) * s + k, n + 2 * p)
             for m, s, k, n, p in zip(size, stride, kernel, spatial, padding)]
    padded = np.zeros((share.shape[0], *shape), share.dtype)
    for _, place in _places(size, kernel, stride, dilation):
        padded[place] += share
    inner = tuple(slice(p, p + n) for p, n in zip(padding, spatial))
    return padded[(slice(None), *inner)].astype(g.dtype, order="C").reshape(*lead, *spatial)


def _avg_pool(rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
              count_include_pad: bool, divisor_override: int | None) -> Any:
    kernel, stride, padding, _ = _parameters(rank, input, kernel_size, stride, padding, 1)
    return ops.avg_pool(input, kernel, stride, padding, ceil_mode, count_include_pad,
                        divisor_override)


def _avg_pool_at_once(rank: int) -> Any:
    def run(input: np.ndarray, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
            count_include_pad: bool, divisor_override: Any = None) -> np.ndarray | None:
        if input.dtype not in FLOATS:
            return None
        how, shape, planes, members = _plan(rank, input.shape, kernel_size, stride, padding, 1,
                                            ceil_mode)
        if members is None or ceil_mode or divisor_override is not None or any(how[2]):
            return avg_pool.function(input, *how[:3], ceil_mode, count_include_pad,
                                     divisor_override)
        total = np.add.reduce(input.reshape(planes).take(members, 1), axis=1)
        total /= len(members)
        return total.reshape(shape)

    return run


def _avg_pool_back(rank: int) -> Any:
    def back(g: np.ndarray, kept: Any, needs: tuple, input: Any, kernel_size: Any, stride: Any,
             padding: Any, ceil_mode: bool, count_include_pad: bool,
             divisor_override: Any = None) -> tuple:
        kernel, steps, widths, _ = _parameters(rank, input, kernel_size, stride, padding, 1)
        spatial = input.shape[input.ndim - rank:]
        return (avg_pool_input_grad.function(g, spatial, kernel, steps, widths, ceil_mode,
                                             count_include_pad, divisor_override),)

    return back


@_pool(_avg_pool_back, _avg_pool_at_once, "")
def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False,
               count_include_pad=True):
    """The mean of each window of a line."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@_pool(_avg_pool_back, _avg_pool_at_once, "")
def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """The mean of each window of an image."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


@_pool(_avg_pool_back, _avg_pool_at_once, "")
def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """The mean of each window of a volume."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


# Adaptive


def _bounds(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of m windows over n values starts and ends."""
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


def _shares(n: int, m: int, dtype: np.dtype) -> np.ndarray:
    """The (m, n) matrix whose product with n values is their m adaptive means."""
    start, end = _bounds(n, m)
    column = np.arange(n)
    inside = (column >= start[:, None]) & (column < end[:, None])
    return (inside / (end - start)[:, None]).astype(dtype)


def _along(values: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(values, axis, -1) @ matrix.T, -1, axis)


def _adaptive_spec(input: Any, size: tuple) -> Spec:
    return Spec(_pooled_shape(input, size), input.dtype, input.device)


@extern(spec=_adaptive_spec, saves="", method=False, vjp=lambda g, out, input, size:
        ops.adaptive_avg_pool_input_grad(g, input.shape[len(input.shape) - len(size):]))
def adaptive_avg_pool(input, size):
    """The means of `size` windows that cover the input evenly."""
    rank = len(size)
    kind = np.float32 if input.dtype.itemsize == 2 else input.dtype
    result = input.astype(kind, copy=False)
    if _plane(size) == 1 and input.size:
        axes = tuple(range(input.ndim - rank, input.ndim))
        count = result.dtype.type(_plane(input.shape[input.ndim - rank:]))
        return (sums(result, axes, True) / count).astype(input.dtype, copy=False)
    for axis, m in zip(range(-rank, 0), size):
        result = _along(result, axis, _shares(input.shape[axis], m, kind))
    return result.astype(input.dtype, order="C")


@extern(spec=_adaptive_spec, saves="", method=False, vjp=lambda u, out, g, spatial:
        ops.adaptive_avg_pool(u, g.shape[len(g.shape) - len(spatial):]))
def adaptive_avg_pool_input_grad(g, spatial):
    """Each value spread evenly over the window it is the mean of."""
    rank = len(spatial)
    kind = np.float32 if g.dtype.itemsize == 2 else g.dtype
    result = g.astype(kind, copy=False)
    for axis, n in zip(range(-rank, 0), spatial):
        result = _along(result, axis, _shares(n, g.shape[axis], kind).T)
    return result.astype(g.dtype, order="C")


def _adaptive_size(rank: int, input: Any, output_size: Any) -> tuple:
    if rank > 1 and len(input.shape) <= rank and isinstance(output_size, (tuple, list)):
        raise ValueError(f"Input dimension should be at least {rank + 1}")
    if len(input.shape) not in (rank + 1, rank + 2):
        raise RuntimeError(f"adaptive pooling: Expected {rank + 1}D or {rank + 2}D tensor, but got "
                           f"{list(input.shape)}")
    wanted = expand(output_size, rank, "output_size")
    require("adaptive_pool", "floating", input.dtype)
    if any(m is not None and m < 0 for m in wanted):
        raise RuntimeError(f"adaptive pooling: elements of output_size must be greater than or equal "
                           f"to 0 but received {list(wanted)}")
    spatial = input.shape[len(input.shape) - rank:]
    return tuple(n if m is None else m for n, m in zip(spatial, wanted))


def _adaptive_avg(rank: int, input: Any, output_size: Any) -> Any:
    size = _adaptive_size(rank, input, output_size)
    lead = tuple(input.shape[:len(input.shape) - rank])
    spatial = tuple(input.shape[len(input.shape) - rank:])
    dims = tuple(range(len(lead), len(lead) + rank))
    if all(m == 1 for m in size):
        return input.mean(dims, keepdim=True)
    if all(m > 0 and n % m == 0 for n, m in zip(spatial, size)):
        split = [part for n, m in zip(spatial, size) for part in (m, n // m)]
        inner = tuple(len(lead) + 2 * i + 1 for i in range(rank))
        return input.reshape((*lead, *split)).mean(inner)
    return ops.adaptive_avg_pool(input, size)


def _adaptive_at_once(rank: int) -> Any:
    def run(input: np.ndarray, output_size: Any) -> np.ndarray | None:
        if input.dtype not in FLOATS or input.ndim not in (rank + 1, rank + 2):
            return None
        spatial = input.shape[input.ndim - rank:]
        size = expand(output_size, rank, "output_size")
        size = tuple(n if m is None else m for n, m in zip(spatial, size))
        if not input.size or min(size) <= 0:
            return None
        if any(n % m for n, m in zip(spatial, size)):
            return adaptive_avg_pool.function(input, size)
        return _evenly(input, rank, size)

    return run


def _evenly(input: np.ndarray, rank: int, size: tuple) -> np.ndarray:
    """The means of windows of one size that do not overlap."""
    lead, spatial = input.shape[:input.ndim - rank], input.shape[input.ndim - rank:]
    if max(size) == 1:
        result = sums(input, tuple(range(len(lead), input.ndim)), True)
    else:
        split = [part for n, m in zip(spatial, size) for part in (m, n // m)]
        result = input.reshape(*lead, *split).sum(tuple(range(len(lead) + 1, len(lead) + 2 * rank, 2)))
    result /= _plane(spatial) // _plane(size)
    return result


def _adaptive_back(rank: int) -> Any:
    def back(g: np.ndarray, kept: Any, needs: tuple, input: Any, output_size: Any) -> tuple:
        spatial, size = input.shape[input.ndim - rank:], g.shape[g.ndim - rank:]
        if any(n % m for n, m in zip(spatial, size)):
            return (adaptive_avg_pool_input_grad.function(g, spatial),)
        share = g / g.dtype.type(_plane(spatial) // _plane(size))
        if max(size) == 1:
            return (np.broadcast_to(share, input.shape),)
        result, lead = np.empty(input.shape, g.dtype), input.shape[:input.ndim - rank]
        split = [part for n, m in zip(spatial, size) for part in (m, n // m)]
        lone = [part for m in size for part in (m, 1)]
        result.reshape(*lead, *split)[...] = share.reshape(*lead, *lone)
        return (result,)

    return back


@_pool(_adaptive_back, _adaptive_at_once, "")
def adaptive_avg_pool1d(input, output_size):
    """The means of `output_size` windows that cover a line."""
    return _adaptive_avg(1, input, output_size)


@_pool(_adaptive_back, _adaptive_at_once, "")
def adaptive_avg_pool2d(input, output_size):
    """The means of `output_size` windows that cover an image; None keeps a size."""
    return _adaptive_avg(2, input, output_size)


@_pool(_adaptive_back, _adaptive_at_once, "")
def adaptive_avg_pool3d(input, output_size):
    """The means of `output_size` windows that cover a volume; None keeps a size."""
    return _adaptive_avg(3, input, output_size)


def _adaptive_max_spec(input: Any, size: tuple) -> tuple:
    spec = _adaptive_spec(input, size)
    return spec, Spec(spec.shape, int64, spec.device)


@extern(spec=_adaptive_max_spec, saves="out1", method=False, vjp=lambda g, out, input, size:
        ops.max_pool_input_grad(g[0], out[1], input.shape[len(input.shape) - len(size):]))
def adaptive_max_pool(input, size):
    """The largest values of `size` windows that cover the input evenly, and their indices."""
    rank = len(size)
    spatial = input.shape[input.ndim - rank:]
    planes = input.reshape(-1, *spatial)
    values = np.empty((planes.shape[0], *size), input.dtype)
    indices = np.empty(values.shape, np.int64)
    bounds = [_bounds(n, m) for n, m in zip(spatial, size)]
    for at in itertools.product(*map(range, size)):
        window = tuple(slice(b[0][i], b[1][i]) for b, i in zip(bounds, at))
        part = planes[(slice(None), *window)]
        flat = part.reshape(len(part), _plane(part.shape[1:]))
        best = flat.argmax(axis=1)
        shape = tuple(w.stop - w.start for w in window)
        place = [p + w.start for p, w in zip(np.unravel_index(best, shape), window)]
        values[(slice(None), *at)] = flat[np.arange(len(best)), best]
        indices[(slice(None), *at)] = np.ravel_multi_index(tuple(place), spatial)
    shape = _pooled_shape(input, size)
    return values.reshape(shape), indices.reshape(shape)


def _adaptive_max(rank: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    found = ops.adaptive_max_pool(input, _adaptive_size(rank, input, output_size))
    return found if return_indices else found[0]


@composite(method=False)
def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The largest values of `output_size` windows that cover a line."""
    return _adaptive_max(1, input, output_size, return_indices)


@composite(method=False)
def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The largest values of `output_size` windows that cover an image."""
    return _adaptive_max(2, input, output_size, return_indices)


@composite(method=False)
def adaptive_max_pool3d(input, output_size, return_indices=False):
    """The largest values of `output_size` windows that cover a volume."""
    return _adaptive_max(3, input, output_size, return_indices)


# Power means, and pooling undone


def _lp_pool(rank: int, input: Any, norm_type: float, kernel_size: Any, stride: Any,
             ceil_mode: bool) -> Any:
    kernel = expand(kernel_size, rank, "kernel_size")
    mean = _avg_pool(rank, input.pow(norm_type), kernel, stride, 0, ceil_mode, True, None)
    total = ops.sign(mean) * ops.relu(ops.abs(mean)) * _plane(kernel)
    return total.pow(1.0 / norm_type)


@composite(method=False)
def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The power sum of each window of a line, to one over the power."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@composite(method=False)
def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The power sum of each window of an image, to one over the power."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@composite(method=False)
def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The power sum of each window of a volume, to one over the power."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _max_unpool(rank: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any,
                output_size: Any) -> Any:
    kernel, stride, padding, _ = _parameters(rank, input, kernel_size, stride, padding, 1)
    spatial = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(
        input.shape[len(input.shape) - rank:], stride, padding, kernel))
    if output_size is not None:
        spatial = tuple(output_size)[-rank:]
    lead = tuple(input.shape[:len(input.shape) - rank])
    empty = ops.zeros((*lead, _plane(spatial)), dtype=input.dtype, device=input.device)
    rows = (*lead, _plane(input.shape[len(lead):]))
    flat = ops.scatter(empty, len(lead), indices.reshape(rows), input.reshape(rows))
    return flat.reshape((*lead, *spatial))


@composite(method=False)
def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values back at their indices in lines of zeros."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@composite(method=False)
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values back at their indices in images of zeros."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@composite(method=False)
def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values back at their indices in volumes of zeros."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
