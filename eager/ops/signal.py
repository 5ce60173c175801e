"""torch.signal.windows: window functions, symmetric or (`sym=False`) one period of a periodic function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from eager import dtype as dtypes
from eager.op import composite, ops
from eager.tensor import Tensor


def _sampled(name: str, M: Any, sym: bool, dtype: Any, layout: Any, requires_grad: bool, shape: Callable) -> Tensor:
    """`shape(k, span)` at k = 0, 1, …, M - 1, over a span of M - 1, or of M if periodic; of one element the window is 1."""
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not None and "strided" not in str(layout):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    kind = dtype or dtypes.get_default_dtype()
    if kind not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    if M <= 1:
        found = ops.ones((M,), dtype=kind)
    else:
        places = ops.arange(M, dtype=dtypes.float64)
        found = ops.convert(shape(places, M - 1 if sym else M), kind)
    return found.requires_grad_() if requires_grad else found


def _cosines(weights: Any) -> Callable:
    def shape(places, span):
        total = ops.full_like(places, weights[0])
        for order, weight in enumerate(weights[1:], 1):
            total = total + ops.cos(places * (2 * math.pi * order / span)) * ((-1) ** order * weight)
        return total

    return shape


@composite(method=False)
def signal_windows_bartlett(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A triangle."""
    shape = lambda places, span: 1 - ops.abs(places * (2 / span) - 1)
    return _sampled("bartlett", M, sym, dtype, layout, requires_grad, shape)


@composite(method=False)
def signal_windows_blackman(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A sum of three cosines with small side lobes."""
    return _sampled("blackman", M, sym, dtype, layout, requires_grad, _cosines((0.42, 0.5, 0.08)))


@composite(method=False)
def signal_windows_cosine(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Half a wave of the sine."""
    shape = lambda places, span: ops.sin((places + 0.5) * (math.pi / (span + 1)))
    return _sampled("cosine", M, sym, dtype, layout, requires_grad, shape)


@composite(method=False)
def signal_windows_exponential(M, *, center=None, tau=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A decay to both sides of the center."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    shape = lambda places, span: ops.exp(-ops.abs(places - (span / 2 if center is None else center)) / tau)
    return _sampled("exponential", M, sym, dtype, layout, requires_grad, shape)


@composite(method=False)
def signal_windows_gaussian(M, *, std=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The density of a normal distribution, 1 at the center."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    shape = lambda places, span: ops.exp(ops.square((places - span / 2) / std) * -0.5)
    return _sampled("gaussian", M, sym, dtype, layout, requires_grad, shape)


@composite(method=False)
def signal_windows_general_cosine(M, *, a, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A sum of cosines with alternating signs and the weights `a`."""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _sampled("general_cosine", M, sym, dtype, layout, requires_grad, _cosines(tuple(a)))


@composite(method=False)
def signal_windows_general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """`alpha - (1 - alpha) * cos(2 pi phase)`."""
    return _sampled("general_hamming", M, sym, dtype, layout, requires_grad, _cosines((alpha, 1 - alpha)))


@composite(method=False)
def signal_windows_hamming(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A raised cosine that does not reach 0."""
    return _sampled("hamming", M, sym, dtype, layout, requires_grad, _cosines((0.54, 0.46)))


@composite(method=False)
def signal_windows_hann(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A raised cosine."""
    return _sampled("hann", M, sym, dtype, layout, requires_grad, _cosines((0.5, 0.5)))


@composite(method=False)
def signal_windows_kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Kaiser's window of a given steepness."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def shape(places, span):
        side = places * (2 / span) - 1
        return ops.i0(ops.sqrt(ops.clamp(1 - side * side, 0, None)) * beta) / ops.i0(ops.full((), beta, dtype=dtypes.float64))

    return _sampled("kaiser", M, sym, dtype, layout, requires_grad, shape)


@composite(method=False)
def signal_windows_nuttall(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Nuttall's sum of four cosines."""
    weights = (0.3635819, 0.4891775, 0.1365995, 0.0106411)
    return _sampled("nuttall", M, sym, dtype, layout, requires_grad, _cosines(weights))
