"""Resizing: nearest, linear and cubic interpolation along one dimension after another, and
sampling at given points of a grid. All are selections and weighted sums, so that they
differentiate and compile like those.
"""

from __future__ import annotations

import math
from typing import Any

from eager.dtype import float32, float64, int64, uint8
from eager.op import composite, require
from eager.registry import ops

_CUBIC = -0.75
_AREA = -0.5  # the cubic filter against aliasing is Pillow's


def _sources(n: Any, m: Any, scale: float | None, align_corners: bool, like: Any) -> Any:
    """Where each of m output positions lies among n input positions, as real numbers."""
    position = ops.arange(m, dtype=like.dtype, device=like.device)
    if align_corners:
        return position * ((n - 1) / (m - 1) if m > 1 else 0.0)
    step = n / m if scale is None else 1.0 / scale
    return (position + 0.5) * step - 0.5


def _select(input: Any, dim: int, index: Any, n: Any) -> Any:
    return ops.index_select(input, dim, ops.clamp(index, 0, n - 1))


def _shaped(weight: Any, dim: int, rank: int) -> Any:
    return weight.reshape((-1,) + (1,) * (rank - dim - 1))


def _nearest(input: Any, dim: int, m: Any, scale: float | None, exact: bool) -> Any:
    n = input.shape[dim]
    step = n / m if scale is None else 1.0 / scale
    position = ops.arange(m, dtype=float32, device=input.device)
    index = ops.floor((position + 0.5) * step if exact else position * step).to(int64)
    return _select(input, dim, index, n)


def _linear(input: Any, dim: int, m: Any, scale: float | None, align_corners: bool) -> Any:
    n = input.shape[dim]
    source = ops.clamp_min(_sources(n, m, scale, align_corners, input), 0)
    left = ops.floor(source)
    share = _shaped(source - left, dim, input.ndim)
    left = left.to(int64)
    return (_select(input, dim, left, n) * (1 - share)
            + _select(input, dim, left + 1, n) * share)


def _cubic_weights(t: Any) -> list:
    """Weights of the four neighbours at a distance of t after the second."""
    def near(x: Any) -> Any:
        return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic(input: Any, dim: int, m: Any, scale: float | None, align_corners: bool) -> Any:
    n = input.shape[dim]
    source = _sources(n, m, scale, align_corners, input)
    left = ops.floor(source)
    weights = _cubic_weights(source - left)
    left = left.to(int64)
    result = None
    for offset, weight in enumerate(weights, start=-1):
        part = _select(input, dim, left + offset, n) * _shaped(weight, dim, input.ndim)
        result = part if result is None else result + part
    return result


_MODES = {"nearest": None, "nearest-exact": None, "area": None, "linear": 3, "bilinear": 4,
          "trilinear": 5, "bicubic": 4}


def _check(input: Any, size: Any, scale_factor: Any, mode: str, align_corners: bool | None) -> None:
    if mode not in _MODES:
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got "
                                  f"{input.ndim}D) for the modes: {' | '.join(_MODES)} "
                                  f"(got {mode})")
    if not 3 <= input.ndim <= 5:
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got "
                                  f"{input.ndim}D)")
    if _MODES[mode] not in (None, input.ndim):
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs "
                                  f"{_MODES[mode]}D input")
    if _MODES[mode] is None and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: "
                         "linear | bilinear | bicubic | trilinear")
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")


def _per_dimension(values: Any, rank: int, name: str) -> list:
    if not isinstance(values, (tuple, list)):
        return [values] * rank
    if len(values) != rank:
        raise ValueError(f"Input and output must have the same number of spatial dimensions, but "
                         f"got input with {rank} spatial dimensions and {name} of {tuple(values)}.")
    return list(values)


def _wide(input: Any) -> Any:
    """Positions and weights are computed in single precision at least."""
    return input if input.dtype in (float32, float64) else input.to(float32)


def antialiased(input: Any, dim: int, m: Any, scale: float | None, align_corners: bool,
                cubic: bool) -> Any:
    """A filter as wide as the step between outputs, as a matrix product along the dimension."""
    n = input.shape[dim]
    step = (n - 1) / (m - 1) if align_corners and m > 1 else n / m if scale is None else 1 / scale
    wide = max(step, 1.0)
    reach = (2.0 if cubic else 1.0) * wide
    centre = ops.arange(m, dtype=float64, device=input.device).unsqueeze(1)
    centre = step * (centre + 0.5)
    column = ops.arange(n, dtype=float64, device=input.device)
    first = ops.clamp_min(ops.floor(centre - reach + 0.5), 0)
    last = ops.clamp(ops.floor(centre + reach + 0.5), max=n)
    away = ops.abs((column - centre + 0.5) / wide)
    if cubic:
        near = ((_AREA + 2) * away - (_AREA + 3)) * away * away + 1
        far = ((_AREA * away - 5 * _AREA) * away + 8 * _AREA) * away - 4 * _AREA
        weight = ops.where(away < 1, near, ops.where(away < 2, far, 0))
    else:
        weight = ops.clamp_min(1 - away, 0)
    weight = ops.where((column >= first) & (column < last), weight, 0)
    weight = (weight / weight.sum(1, keepdim=True)).to(input.dtype)
    moved = ops.matmul(ops.transpose(input, dim, -1), ops.t(weight))
    return ops.transpose(moved, dim, -1).contiguous()


@composite(method=False)
def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None,
                recompute_scale_factor=None, antialias=False):
    """Resizes the spatial dimensions to `size` or by `scale_factor`."""
    _check(input, size, scale_factor, mode, align_corners)
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and "
                         "requires a 4-D tensor as input")
    if input.dtype is not uint8 or _MODES[mode] == 3 or _MODES[mode] == 5:
        require(f"upsample_{mode}", "floating", input.dtype)
    rank = input.ndim - 2
    scales: list = [None] * rank
    if size is not None:
        sizes = _per_dimension(size, rank, "output size")
    else:
        scales = _per_dimension(scale_factor, rank, "scale_factor")
        sizes = [math.floor(n * scale) for n, scale in zip(input.shape[2:], scales)]
        if recompute_scale_factor:
            scales = [None] * rank
    if mode == "area":
        adaptive = (ops.adaptive_avg_pool1d, ops.adaptive_avg_pool2d, ops.adaptive_avg_pool3d)
        return adaptive[rank - 1](input, tuple(sizes))
    if mode in ("nearest", "nearest-exact"):
        for i, (m, scale) in enumerate(zip(sizes, scales)):
            input = _nearest(input, i + 2, m, scale, mode == "nearest-exact")
        return input
    along = antialiased if antialias else _cubic if mode == "bicubic" else _linear
    kind, extra = input.dtype, ((mode == "bicubic"),) if antialias else ()
    input = _wide(input)
    for i in reversed(range(rank)) if kind is uint8 else range(rank):
        input = along(input, i + 2, sizes[i], scales[i], bool(align_corners), *extra)
        if kind is uint8:  # PyTorch stores bytes between the dimensions
            input = ops.clamp(ops.floor(input + 0.5), 0, 255)
    return input.to(kind)


# Sampling


def _unnormalize(position: Any, n: Any, align_corners: bool) -> Any:
    if align_corners:
        return (position + 1) * ((n - 1) / 2)
    return ((position + 1) * n - 1) / 2


def _fold(position: Any, low: float, high: float) -> Any:
    """Reflects into [low, high]."""
    if high <= low:
        return position * 0
    span = high - low
    away = ops.abs(position - low)
    turns = ops.floor(away / span)
    extra = away - turns * span
    even = ops.remainder(turns, 2) == 0
    return ops.where(even, extra + low, span - extra + low)


def _bounded(position: Any, n: Any, mode: str, align_corners: bool) -> Any:
    if mode == "zeros":
        return position
    if mode == "reflection":
        low, high = (0.0, float(n - 1)) if align_corners else (-0.5, n - 0.5)
        position = _fold(position, low, high)
    return ops.clamp(position, 0, n - 1)


def _fetch(input: Any, coordinates: list) -> Any:
    """The values at whole coordinates (batch, *points); zero outside."""
    batch, channels = input.shape[:2]
    sizes = input.shape[2:]
    index: Any = None
    inside: Any = None
    for coordinate, n in zip(coordinates, sizes):
        within = (coordinate >= 0) & (coordinate <= n - 1)
        inside = within if inside is None else inside & within
        whole = ops.clamp(coordinate, 0, n - 1).to(int64)
        index = whole if index is None else index * n + whole
    points = index.shape[1:]
    count, area = index.numel() // max(batch, 1), input.numel() // max(batch * channels, 1)
    flat = index.reshape((batch, 1, count)).expand((batch, channels, count))
    found = ops.gather(input.reshape((batch, channels, area)), 2, flat)
    found = found.reshape((batch, channels, *points))
    return found * inside.unsqueeze(1).to(found.dtype)


def _sample_linear(input: Any, places: list) -> Any:
    lows = [ops.floor(place) for place in places]
    result = None
    for corner in range(2 ** len(places)):
        weight: Any = None
        at = []
        for i, (place, low) in enumerate(zip(places, lows)):
            high = corner >> i & 1
            share = place - low if high else 1 - (place - low)
            weight = share if weight is None else weight * share
            at.append(low + 1 if high else low)
        part = _fetch(input, at) * weight.unsqueeze(1)
        result = part if result is None else result + part
    return result


def _sample_cubic(input: Any, places: list, mode: str, align_corners: bool) -> Any:
    lows = [ops.floor(place) for place in places]
    weights = [_cubic_weights(place - low) for place, low in zip(places, lows)]
    result = None
    for i in range(4):
        for j in range(4):
            at = [_bounded(low + offset - 1, n, mode, align_corners)
                  for low, offset, n in zip(lows, (i, j), input.shape[2:])]
            part = _fetch(input, at) * (weights[0][i] * weights[1][j]).unsqueeze(1)
            result = part if result is None else result + part
    return result


@composite(method=False)
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """The input at the points of `grid`, whose last dimension holds x, y(, z) in [-1, 1]."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' "
                         f"or 'bicubic', but got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', "
                         f"'border', or 'reflection', but got: '{padding_mode}'")
    rank = input.ndim - 2
    if grid.ndim != input.ndim or grid.shape[-1] != rank or grid.shape[0] != input.shape[0]:
        raise RuntimeError("grid_sampler(): expected grid to have size "
                           f"{rank} in last dimension and the input's batch size, but got input "
                           f"of size {list(input.shape)} and grid of size {list(grid.shape)}")
    kind, align = input.dtype, bool(align_corners)
    require("grid_sampler", "floating", kind)
    input, grid = _wide(input), _wide(grid)
    places = [_unnormalize(grid[..., rank - 1 - i], n, align)
              for i, n in enumerate(input.shape[2:])]
    if mode == "bicubic":
        if rank != 2:
            raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
        return _sample_cubic(input, places, padding_mode, align).to(kind)
    places = [_bounded(place, n, padding_mode, align)
              for place, n in zip(places, input.shape[2:])]
    if mode == "nearest":
        return _fetch(input, [ops.round(place) for place in places]).to(kind)
    return _sample_linear(input, places).to(kind)


@composite(method=False)
def affine_grid(theta, size, align_corners=None):
    """The points that `theta`, one affine map per sample, sends a regular grid to."""
    batch, spatial = size[0], size[2:]
    rank = len(spatial)
    lines = []
    for i, n in enumerate(reversed(tuple(spatial))):
        line = ops.arange(n, dtype=theta.dtype, device=theta.device)
        if align_corners:
            line = line * (2 / (n - 1)) - 1 if n > 1 else line * 0
        else:
            line = (line * 2 + 1) / n - 1
        line = line.reshape((1,) * (rank - 1 - i) + (-1,) + (1,) * i)
        lines.append(line.expand(tuple(spatial)))
    lines.append(ops.ones(tuple(spatial), dtype=theta.dtype, device=theta.device))
    points = ops.stack(lines, -1).reshape((1, -1, rank + 1))
    return ops.matmul(points, ops.transpose(theta, 1, 2)).reshape((batch, *spatial, rank))


@composite
def pixel_shuffle(input, upscale_factor):
    """Channels into space: (…, C r², H, W) becomes (…, C, H r, W r)."""
    r = upscale_factor
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError("pixel_shuffle expects its input's 'channel' dimension to be divisible "
                           f"by the square of upscale_factor, but input.size(-3)={channels} is not "
                           f"divisible by {r * r}")
    n = len(lead)
    split = input.reshape((*lead, channels // (r * r), r, r, height, width))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    split = ops.clone(split.permute(order), memory_format="torch.contiguous_format")
    return split.reshape((*lead, channels // (r * r), height * r, width * r))


@composite
def pixel_unshuffle(input, downscale_factor):
    """Space into channels: the inverse of `pixel_shuffle`."""
    r = downscale_factor
    *lead, channels, height, width = input.shape
    if height % r or width % r:
        raise RuntimeError("pixel_unshuffle expects height and width to be divisible by "
                           f"downscale_factor, but got {height} and {width}")
    n = len(lead)
    split = input.reshape((*lead, channels, height // r, r, width // r, r))
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    split = ops.clone(split.permute(order), memory_format="torch.contiguous_format")
    return split.reshape((*lead, channels * r * r, height // r, width // r))


@composite
def channel_shuffle(input, groups):
    """Interleaves groups of channels."""
    batch, channels, *spatial = input.shape
    if channels % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {channels} "
                           f"channels and {groups} groups.")
    split = input.reshape((batch, groups, channels // groups, *spatial))
    return ops.transpose(split, 1, 2).reshape(input.shape)
