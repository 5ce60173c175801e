"""Window functions for spectra: Hann, Hamming, Blackman, Bartlett, Kaiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from eager import dtype as dtypes
from eager.op import composite, ops


def _window(length: Any, periodic: bool, dtype: Any, shape: Callable, **marks: Any) -> Any:
    """`shape` of the phase, which goes from 0 to 1 over the window (over one more element if
    periodic)."""
    if length < 0:
        raise RuntimeError("requires non-negative window_length, got window_length=" + str(length))
    kind = dtype or dtypes.get_default_dtype()
    if length <= 1:
        return ops.ones((length,), dtype=kind)
    steps = length if periodic else length - 1
    return ops.convert(shape(ops.arange(length, dtype=dtypes.float64) / steps), kind)


def _cosines(*weights: float) -> Callable:
    def shape(phase):
        total = ops.full_like(phase, weights[0])
        for order, weight in enumerate(weights[1:], start=1):
            total = total + ops.cos(phase * (2 * math.pi * order)) * weight
        return total

    return shape


@composite(method=False)
def hann_window(
    window_length,
    periodic=True,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Half a wave of a raised cosine."""
    return _window(window_length, periodic, dtype, _cosines(0.5, -0.5))


@composite(method=False)
def hamming_window(
    window_length,
    periodic=True,
    alpha=0.54,
    beta=0.46,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """`alpha - beta * cos(2 pi phase)`."""
    return _window(window_length, periodic, dtype, _cosines(alpha, -beta))


@composite(method=False)
def blackman_window(
    window_length,
    periodic=True,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """A sum of three cosines with small side lobes."""
    return _window(window_length, periodic, dtype, _cosines(0.42, -0.5, 0.08))


@composite(method=False)
def bartlett_window(
    window_length,
    periodic=True,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """A triangle."""
    return _window(window_length, periodic, dtype, lambda phase: 1 - ops.abs(phase * 2 - 1))


@composite(method=False)
def kaiser_window(
    window_length,
    periodic=True,
    beta=12.0,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Kaiser's window of a given steepness."""

    def shape(phase):
        side = phase * 2 - 1
        return ops.i0(ops.sqrt(ops.clamp(1 - side * side, 0, None)) * beta) / ops.i0(
            ops.full((), beta, dtype=dtypes.float64)
        )

    return _window(window_length, periodic, dtype, shape)
