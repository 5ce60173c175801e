"""Fractional maximum pooling: windows whose places along each dimension a random number per plane decides (Graham, 2014). The windows
are PyTorch's for the same numbers; an index counts positions in a plane of the input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager.dtype import int64
from eager.op import composite, extern
from eager.ops.convolution import expand
from eager.registry import ops
from eager.spec import Spec

_ORDER = {2: (1, 0), 3: (0, 1, 2)}  # which of a plane's numbers places the windows of a dimension


def _starts(samples: np.ndarray, n: int, m: int, k: int) -> np.ndarray:
    """Where each of m windows of k over n values starts, one row per plane."""
    starts = np.full((len(samples), m), n - k, np.int64)
    if m > 1:
        step = samples.dtype.type(n - k) / samples.dtype.type(m - 1)
        place = np.arange(m - 1).astype(samples.dtype) + samples[:, None]
        starts[:, :-1] = (place * step).astype(np.int64) - (samples * step).astype(np.int64)[:, None]
    return starts


def _spec(input: Any, samples: Any, kernel: tuple, size: tuple) -> tuple:
    rank = len(kernel)
    spatial = tuple(input.shape[len(input.shape) - rank:])
    for name, n, k, m in zip(("time", "height", "width")[3 - rank:], spatial, kernel, size):
        if k <= 0 or m <= 0 or m + k - 1 > n:
            raise RuntimeError(f"fractional_max_pool{rank}d(): pool {name} {k} and output {name} {m} "
                               f"do not fit into the input {name} {n}")
    shape = (*input.shape[: len(input.shape) - rank], *size)
    return Spec(shape, input.dtype, input.device), Spec(shape, int64, input.device)


def _vjp(g: tuple, out: tuple, input: Any, samples: Any, kernel: tuple, size: tuple) -> Any:
    return ops.max_pool_input_grad(g[0], out[1], input.shape[len(input.shape) - len(size):])


@extern(spec=_spec, vjp=(_vjp, None), saves="out", method=False, takes="floating")
def fractional_max_pool(input, samples, kernel, size):
    """The largest value of each window and its index; `samples` holds a number per plane and
    dimension."""
    rank = len(kernel)
    spatial = input.shape[input.ndim - rank:]
    if any(k <= 0 or m <= 0 or m + k - 1 > n for n, k, m in zip(spatial, kernel, size)):
        raise ValueError
    count = math.prod(input.shape[: input.ndim - rank])
    planes = input.reshape(count, *spatial)
    draws = samples.reshape(count, rank).astype(input.dtype, copy=False)
    flat: Any = 0
    for axis, (n, m, k) in enumerate(zip(spatial, size, kernel)):
        place = _starts(draws[:, _ORDER[rank][axis]], n, m, k)[:, :, None] + np.arange(k)
        shape = [len(planes)] + [1] * (2 * rank)
        shape[1 + axis], shape[1 + rank + axis] = m, k
        flat = flat * n + place.reshape(shape)
    flat = flat.reshape(count, *size, math.prod(kernel))
    met = np.take_along_axis(planes.reshape(count, math.prod(spatial)), flat.reshape(count, math.prod(flat.shape[1:])), 1)
    met = met.reshape(flat.shape)
    best = met.argmax(-1)[..., None]
    shape = (*input.shape[: input.ndim - rank], *size)
    return (np.take_along_axis(met, best, -1).reshape(shape),
            np.take_along_axis(flat, best, -1).reshape(shape))


def pool(rank: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any,
         return_indices: bool, samples: Any) -> Any:
    """What `fractional_max_pool2d` and `3d` do."""
    name = f"fractional_max_pool{rank}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: "
                           f"{list(input.shape)}")
    spatial = input.shape[input.ndim - rank:]
    if output_size is None:
        ratios = expand(output_ratio, rank, "output_ratio")
        output_size = tuple(int(n * ratio) for n, ratio in zip(spatial, ratios))
    if samples is None:
        lead = (1, input.shape[0]) if input.ndim == rank + 1 else tuple(input.shape[:2])
        samples = ops.rand((*lead, rank), dtype=input.dtype, device=input.device)
    found = ops.fractional_max_pool(input, samples, expand(kernel_size, rank, "kernel_size"),
                                    expand(output_size, rank, "output_size"))
    return found if return_indices else found[0]


@composite(method=False, random=True)
def fractional_max_pool2d(input, kernel_size, output_size=None, output_ratio=None,
                          return_indices=False, _random_samples=None):
    """The largest values of windows that random numbers place in an image."""
    return pool(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@composite(method=False, random=True)
def fractional_max_pool3d(input, kernel_size, output_size=None, output_ratio=None,
                          return_indices=False, _random_samples=None):
    """The largest values of windows that random numbers place in a volume."""
    return pool(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)
