"""Activation functions: pointwise ones by a scalar body, softmax and log_softmax by a kernel over
rows with a decomposition. Promises PyTorch's values at the kinks, and its gradients there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from eager.blocks import BLOCK, against, in_blocks, row_maxima, row_sums, steps
from eager.call import FLOATS, SINGLE
from eager.dtype import bfloat16, float16, float32
from eager.dtype import from_numpy as _type_of
from eager.op import composite, extern, pointwise, require
from eager.registry import ops
from eager.selection import select
from eager.shape import normalize_dim
from eager.spec import Spec

HALF = (float16, bfloat16)
_SQRT_HALF = math.sqrt(0.5)
_GAUSS = 1 / math.sqrt(2 * math.pi)
_TANH_SCALE = math.sqrt(2 / math.pi)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def widen(array: np.ndarray) -> np.ndarray:
    """Half precision as float32, for kernels that add up; other types as they are."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


@pointwise(vjp=lambda g, out, input: ops.where(out <= 0, 0, g), saves="out", takes="real",
           back=lambda g, out, needs, input: (select(out <= 0, 0, g),),
           quick=lambda x: against(np.maximum, x, 0), kinds=FLOATS)
def relu(s, input):
    """The larger of zero and the input."""
    return s.maximum(input, 0)


def _tanh_slopes(s: Any, x: Any) -> tuple:
    """tanh of the inner polynomial of gelu's approximation, and that polynomial's slope."""
    square = x * x
    inner = _TANH_SCALE * (1 + 0.134145 * square)
    return s.tanh(_TANH_SCALE * (x + 0.044715 * (square * x))), inner


def _gelu_curvature(g: Any, input: Any, approximate: str) -> Any:
    """g times the second derivative of gelu, in operators."""
    if approximate == "none":
        return g * (ops.exp(input * input * -0.5) * _GAUSS * (2 - input * input))
    bent, inner = _tanh_slopes(ops, input)
    more = 0.26829 * _TANH_SCALE * input
    return g * ((1 - bent * bent) * (inner + 0.5 * input * (more - 2 * bent * inner * inner)))


@pointwise(
    vjp=(lambda u, out, g, input, approximate: ops.gelu_backward(u, input, approximate),
         lambda u, out, g, input, approximate: _gelu_curvature(u * g, input, approximate)),
    promote="float", operands="g input", method=False, inplace=False,
)
def gelu_backward(s, g, input, approximate="none"):
    """The gradient of gelu by its input."""
    if approximate == "none":
        slope = 0.5 * (1 + s.erf(input * _SQRT_HALF))
        return g * (slope + input * (s.exp(input * input * -0.5) * _GAUSS))
    bent, inner = _tanh_slopes(s, input)
    return g * (0.5 * (1 + bent) + 0.5 * input * (1 - bent * bent) * inner)


# tanh(x * P(x**2)) is erf(x / sqrt(2)), P fitted by weighted least squares: gelu is off by less than
# 7e-8 then. The last coefficient is positive: large inputs go where they should.
_GELU = tuple(np.array(c, np.float32) for c in (
    1.8056637108598153e-09, -1.33448491479918e-07, 3.969142538149418e-06, -5.524039373545606e-05,
    -3.312924596110116e-05, 0.03633428262467246, 0.7978842162926948,
))
_HALF_ONE, _ONE = np.array(0.5, np.float32), np.array(1, np.float32)


def _bend(x: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Fills the result with erf(x / sqrt(2)); gives the squares."""
    square = np.multiply(x, x)
    np.multiply(square, _GELU[0], result)
    for c in _GELU[1:-1]:
        result += c
        result *= square
    result += _GELU[-1]
    result *= x
    np.tanh(result, result)
    return square


def _gelu_steps(x: np.ndarray, result: np.ndarray) -> None:
    _bend(x, result)
    result += _ONE
    result *= x
    result *= _HALF_ONE


def _gelu_slopes(g: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    square = _bend(x, result)
    result += _ONE
    result *= _HALF_ONE
    square *= -_HALF_ONE
    np.exp(square, square)
    square *= x
    square *= np.float32(_GAUSS)
    result += square
    result *= g


def _tanh_gelu_steps(x: np.ndarray, result: np.ndarray) -> None:
    np.multiply(x, x, result)
    result *= np.float32(_TANH_SCALE * 0.044715)
    result += np.float32(_TANH_SCALE)
    result *= x
    np.tanh(result, result)
    result += _ONE
    result *= x
    result *= _HALF_ONE


def _tanh_gelu_slopes(g: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    square = np.multiply(x, x)
    np.multiply(square, np.float32(_TANH_SCALE * 0.044715), result)
    result += np.float32(_TANH_SCALE)
    result *= x
    np.tanh(result, result)
    square *= np.float32(_TANH_SCALE * 0.134145)
    square += np.float32(_TANH_SCALE)
    result += _ONE
    square *= result  # (1 + t) (1 - t), t the tanh: zero before it meets a large x
    square *= np.float32(2) - result
    square *= x
    result += square
    result *= _HALF_ONE
    result *= g


def _gelu_back(g: np.ndarray, kept: Any, needs: tuple, input: np.ndarray, approximate: str) -> tuple:
    if input.dtype != np.float32:
        return (gelu_backward.run(g, input, approximate).astype(input.dtype, copy=False),)
    return (steps(_gelu_slopes if approximate == "none" else _tanh_gelu_slopes, g, input),)


def _gelu_run(input: np.ndarray, approximate: str) -> np.ndarray:
    if approximate == "tanh" and input.dtype == np.float32:
        return steps(_tanh_gelu_steps, input)
    return in_blocks(gelu.body)(input, approximate)


def _silu_slopes(g: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    gate = np.negative(x)
    np.exp(gate, gate)
    gate += _ONE.astype(x.dtype)
    np.reciprocal(gate, gate)
    np.subtract(1, gate, result)
    result *= x
    result += 1
    result *= gate
    result *= g


def _silu_back(g: np.ndarray, kept: Any, needs: tuple, input: np.ndarray) -> tuple:
    if input.dtype not in FLOATS:
        return (silu_backward.run(g, input).astype(input.dtype, copy=False),)
    return (steps(_silu_slopes, g, input),)


def _silu_steps(x: np.ndarray, result: np.ndarray) -> None:
    np.negative(x, result)
    np.exp(result, result)
    result += 1
    np.divide(x, result, result)


@pointwise(vjp=lambda g, out, input, approximate: ops.gelu_backward(g, input, approximate),
           quick=lambda x: steps(_gelu_steps, x), kinds=SINGLE, back=_gelu_back, run=_gelu_run,
           promote="float", method=False, inplace=False, takes="floating")
def gelu(s, input, approximate="none"):
    """The input times the normal distribution function of it; `approximate="tanh"` is a formula
    for it."""
    if approximate == "none":
        return input * (0.5 * (1 + s.erf(input * _SQRT_HALF)))
    if approximate != "tanh":
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    cube = input * input * input
    return 0.5 * input * (1 + s.tanh(_TANH_SCALE * (input + 0.044715 * cube)))


def _silu_curvature(g: Any, input: Any) -> Any:
    gate = ops.sigmoid(input)
    return g * (gate * (1 - gate) * (2 + input * (1 - 2 * gate)))


@pointwise(vjp=(lambda u, out, g, input: ops.silu_backward(u, input),
                lambda u, out, g, input: _silu_curvature(u * g, input)),
           promote="float", method=False, inplace=False)
def silu_backward(s, g, input):
    """The gradient of silu by its input."""
    gate = s.sigmoid(input)
    return g * (gate * (1 + input * (1 - gate)))


@pointwise(vjp=lambda g, out, input: ops.silu_backward(g, input), promote="float", method=False,
           takes="inexact", quick=lambda x: steps(_silu_steps, x), back=_silu_back)
def silu(s, input):
    """The input times its sigmoid."""
    return input * s.sigmoid(input)


def _mish_vjp(g: Any, out: Any, input: Any) -> Any:
    bent = ops.tanh(ops.softplus(input))
    return g * (bent + input * ops.sigmoid(input) * (1 - bent * bent))


@pointwise(vjp=_mish_vjp, promote="float", method=False, takes="floating")
def mish(s, input):
    """The input times the tanh of its softplus."""
    smooth = s.maximum(input, 0) + s.log1p(s.exp(-s.abs(input)))
    return input * s.tanh(smooth)


def _elu_vjp(g: Any, out: Any, input: Any, alpha: float) -> Any:
    return g * ops.where(input > 0, 1.0, alpha * ops.exp(ops.clamp_max(input, 0)))


@pointwise(vjp=_elu_vjp, promote="float", method=False, takes="floating")
def elu(s, input, alpha=1.0):
    """The input where positive, otherwise `alpha * (exp(input) - 1)`."""
    return s.where(input > 0, input, alpha * s.expm1(s.minimum(input, 0)))


def _selu_vjp(g: Any, out: Any, input: Any) -> Any:
    slope = _SELU_ALPHA * ops.exp(ops.clamp_max(input, 0))
    return g * (_SELU_SCALE * ops.where(input > 0, 1.0, slope))


@pointwise(vjp=_selu_vjp, promote="float", method=False, takes="floating")
def selu(s, input):
    """A scaled elu that keeps mean 0 and variance 1."""
    below = _SELU_ALPHA * s.expm1(s.minimum(input, 0))
    return _SELU_SCALE * s.where(input > 0, input, below)


def _celu_vjp(g: Any, out: Any, input: Any, alpha: float) -> Any:
    return g * ops.where(input > 0, 1.0, ops.exp(ops.clamp_max(input, 0) / alpha))


@pointwise(vjp=_celu_vjp, promote="float", method=False, takes="floating")
def celu(s, input, alpha=1.0):
    """The input where positive, otherwise `alpha * (exp(input / alpha) - 1)`."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return s.where(input > 0, input, alpha * s.expm1(s.minimum(input, 0) / alpha))


@pointwise(vjp=lambda g, out, input, slope: ops.where(input > 0, g, g * slope), method=False, takes="floating")
def leaky_relu(s, input, negative_slope=0.01):
    """The input, times `negative_slope` where it is not positive."""
    return s.where(input > 0, input, input * negative_slope)


@pointwise(
    vjp=(lambda g, out, input, weight: ops.where(input > 0, g, g * weight),
         lambda g, out, input, weight: ops.where(input > 0, 0, g * input)),
    method=False, inplace=False, takes="floating")
def prelu_kernel(s, input, weight):
    """`prelu` with a weight that broadcasts."""
    return s.where(input > 0, input, input * weight)


@composite
def prelu(input, weight):
    """The input, times a learned weight (one, or one per channel) where it is not positive."""
    if weight.numel() != 1:
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim >= 2 else 1
        if weight.numel() != channels:
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found "
                               f"parameter numbers = {weight.numel()} and channel size = "
                               f"{channels}.")
    if input.ndim >= 2 and weight.ndim == 1:
        weight = weight.reshape((1, -1) + (1,) * (input.ndim - 2))
    elif weight.ndim == 1 and input.ndim < 1:
        weight = weight.reshape(())
    return ops.prelu_kernel(input, weight)


def _hardtanh_vjp(g: Any, out: Any, input: Any, low: float, high: float) -> Any:
    return ops.where((input <= low) | (input >= high), 0, g)


@pointwise(vjp=_hardtanh_vjp, method=False, takes="real")
def hardtanh(s, input, min_val=-1.0, max_val=1.0):
    """The input cut off at `min_val` and `max_val`."""
    return s.minimum(s.maximum(input, min_val), max_val)


@pointwise(vjp=lambda g, out, input: _hardtanh_vjp(g, out, input, 0, 6), method=False, takes="real")
def relu6(s, input):
    """The input cut off at 0 and 6."""
    return s.minimum(s.maximum(input, 0), 6)


def _hardswish_vjp(g: Any, out: Any, input: Any) -> Any:
    middle = g * (input / 3 + 0.5)
    return ops.where(input <= -3, 0, ops.where(input < 3, middle, g))


@pointwise(vjp=_hardswish_vjp, promote="float", method=False, takes="floating")
def hardswish(s, input):
    """The input times its hardsigmoid."""
    return input * s.minimum(s.maximum(input + 3, 0), 6) / 6


@pointwise(vjp=lambda g, out, input: ops.where((input > -3) & (input < 3), g / 6, 0),
           promote="float", method=False, takes="floating")
def hardsigmoid(s, input):
    """A line from 0 at -3 to 1 at 3."""
    return s.minimum(s.maximum(input + 3, 0), 6) / 6


def _softplus_vjp(g: Any, out: Any, input: Any, beta: float, threshold: float) -> Any:
    scaled = input * beta
    return ops.where(scaled > threshold, g, g * ops.sigmoid(scaled))


@pointwise(vjp=_softplus_vjp, promote="float", method=False, inplace=False, takes="floating")
def softplus(s, input, beta=1.0, threshold=20.0):
    """`log(1 + exp(beta * input)) / beta`; the input itself above `threshold / beta`."""
    scaled = input * beta
    return s.where(scaled > threshold, input, s.log1p(s.exp(s.minimum(scaled, threshold))) / beta)


def _softsign_vjp(g: Any, out: Any, input: Any) -> Any:
    size = 1 + ops.abs(input)
    if not input.is_complex():
        return g / (size * size)
    along = ops.real(g * ops.conj(input)) / (size * size)
    return g / size - along * ops.sgn(input)


@pointwise(vjp=_softsign_vjp, promote="float", method=False, inplace=False, takes="number")
def softsign(s, input):
    """The input over one more than its size."""
    return input / (1 + s.abs(input))


@pointwise(vjp=lambda g, out, input: g * ops.sigmoid(-input), promote="float", method=False,
           inplace=False, takes="floating")
def logsigmoid(s, input):
    """The logarithm of the sigmoid."""
    return s.minimum(input, 0) - s.log1p(s.exp(-s.abs(input)))


def _tanhshrink_vjp(g: Any, out: Any, input: Any) -> Any:
    slope = ops.square(ops.tanh(input))
    return g * (ops.conj(slope) if slope.is_complex() else slope)


@pointwise(vjp=_tanhshrink_vjp, promote="float", method=False, inplace=False, takes="number")
def tanhshrink(s, input):
    """The input less its tanh."""
    return input - s.tanh(input)


@pointwise(vjp=lambda g, out, input, limit, value: ops.where(input <= limit, 0, g),
           operands="input", method=False, takes="real")
def threshold(s, input, threshold, value):
    """The input where it is above the threshold, otherwise `value`."""
    return s.where(input <= threshold, value, input)


def _shrink_vjp(g: Any, out: Any, input: Any, lambd: float) -> Any:
    return ops.where((input >= -lambd) & (input <= lambd), 0, g)


@pointwise(vjp=_shrink_vjp, inplace=False, takes="floating")
def hardshrink(s, input, lambd=0.5):
    """The input, but zero within `lambd` of zero."""
    return s.where((input >= -lambd) & (input <= lambd), 0, input)


@pointwise(vjp=_shrink_vjp, method=False, inplace=False, takes="floating")
def softshrink(s, input, lambd=0.5):
    """The input moved towards zero by `lambd`, and no further than zero."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be in range [0, inf), but found {lambd}")
    inside = (input >= -lambd) & (input <= lambd)
    return s.where(inside, 0, s.where(input > 0, input - lambd, input + lambd))


@composite(method=False)
def glu(input, dim=-1):
    """The first half of a dimension times the sigmoid of the second."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    require("glu", "floating", input.dtype)
    size = input.shape[normalize_dim(dim, input.ndim)]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    value, gate = ops.chunk(input, 2, dim)
    return value * ops.sigmoid(gate)


def _softmax_spec(name: str) -> Any:
    def rule(input: Any, dim: int, dtype: Any = None) -> Spec:
        require(name, "floating", dtype or input.dtype)
        normalize_dim(dim, input.ndim)
        return Spec(input.shape, dtype or input.dtype, input.device)
    return rule


def _floating_rows(name: str, input: np.ndarray, dim: int, dtype: Any) -> tuple:
    """The input in the type to compute in, and the type of the result."""
    if dtype is not None:
        input = input.astype(dtype.numpy)
    require(name, "floating", _type_of(input.dtype))
    normalize_dim(dim, input.ndim)
    return widen(input), input.dtype


def _row_blocks(work: np.ndarray, result: np.ndarray, dim: int) -> Iterator[tuple]:
    """Parts of input and result that stay in the cache, and the axis of them to work along."""
    if work.size == 0:
        return
    if work.ndim == 0 or normalize_dim(dim, work.ndim) != work.ndim - 1:
        yield work, result, dim if work.ndim else None
        return
    rows = np.ascontiguousarray(work).reshape(-1, work.shape[-1])
    filled = result.reshape(rows.shape)
    if rows.size <= BLOCK:
        yield rows, filled, 1
        return
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        yield rows[start : start + step], filled[start : start + step], 1


def _is_small(input: np.ndarray, dim: int, dtype: Any) -> bool:
    """Whether all rows are packed in the last dimension and stay in the cache."""
    return (dtype is None and input.dtype in FLOATS and 0 < input.size <= BLOCK and input.ndim > 0
            and (dim == -1 or dim == input.ndim - 1) and input.flags.c_contiguous)


def _totals(powers: np.ndarray, axis: int | None) -> np.ndarray:
    if axis == 1 and powers.ndim == 2:
        return row_sums(powers, True)
    return np.add.reduce(powers, axis=axis, keepdims=True)


def _softmax_vjp(g: Any, out: Any, input: Any, dim: int, dtype: Any) -> Any:
    product = g * out
    return (product - out * product.sum(dim, keepdim=True)).to(input.dtype)


def _softmax_back(g: np.ndarray, out: np.ndarray, needs: tuple, input: Any, dim: int,
                  dtype: Any) -> tuple:
    if out.dtype not in FLOATS or dim not in (-1, out.ndim - 1) or not out.ndim or dtype is not None:
        wide = widen(out)
        product = widen(g) * wide
        product -= wide * product.sum(dim if out.ndim else None, keepdims=True)
        return (product.astype(input.dtype.numpy, copy=False),)
    result = np.empty(out.shape, out.dtype)
    if not out.size:
        return (result,)
    slopes, rows = np.ascontiguousarray(g).reshape(-1, out.shape[-1]), np.ascontiguousarray(out)
    rows, filled = rows.reshape(slopes.shape), result.reshape(slopes.shape)
    step = max(1, BLOCK // max(out.shape[-1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        np.subtract(slopes[part], np.vecdot(slopes[part], rows[part])[:, None], filled[part])
        filled[part] *= rows[part]
    return (result,)


def _softmax_steps(input: Any, dim: int, dtype: Any = None) -> Any:
    input = input if dtype is None else input.to(dtype)
    work = input.to(float32) if input.dtype in HALF else input
    powers = ops.exp(work - ops.amax(work, dim, keepdim=True))
    return (powers / ops.sum(powers, dim, keepdim=True)).to(input.dtype)


@extern(spec=_softmax_spec("softmax"), vjp=_softmax_vjp, saves="out", decompose=_softmax_steps,
        back=_softmax_back)
def softmax(input, dim, dtype=None):
    """Exponentials along a dimension, scaled to add up to one."""
    if _is_small(input, dim, dtype):
        rows = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
        result = np.subtract(rows, row_maxima(rows))
        np.exp(result, result)
        result /= row_sums(result)[:, None]
        return result if input.ndim == 2 else result.reshape(input.shape)
    work, kind = _floating_rows("softmax", input, dim, dtype)
    result = np.empty(work.shape, work.dtype)
    for rows, filled, axis in _row_blocks(work, result, dim):
        np.subtract(rows, np.maximum.reduce(rows, axis=axis, keepdims=True), filled)
        np.exp(filled, filled)
        filled /= _totals(filled, axis)
    return result.astype(kind, copy=False)


def _log_softmax_vjp(g: Any, out: Any, input: Any, dim: int, dtype: Any) -> Any:
    return (g - ops.exp(out) * g.sum(dim, keepdim=True)).to(input.dtype)


def _log_softmax_steps(input: Any, dim: int, dtype: Any = None) -> Any:
    input = input if dtype is None else input.to(dtype)
    work = input.to(float32) if input.dtype in HALF else input
    work = work - ops.amax(work, dim, keepdim=True)
    return (work - ops.log(ops.sum(ops.exp(work), dim, keepdim=True))).to(input.dtype)


@extern(spec=_softmax_spec("log_softmax"), vjp=_log_softmax_vjp, saves="out",
        decompose=_log_softmax_steps)
def log_softmax(input, dim, dtype=None):
    """The logarithm of softmax, without leaving the range of the type."""
    if _is_small(input, dim, dtype):
        rows = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
        result = np.subtract(rows, row_maxima(rows))
        result -= np.log(row_sums(np.exp(result)))[:, None]
        return result if input.ndim == 2 else result.reshape(input.shape)
    work, kind = _floating_rows("log_softmax", input, dim, dtype)
    result = np.empty(work.shape, work.dtype)
    for rows, filled, axis in _row_blocks(work, result, dim):
        np.subtract(rows, np.maximum.reduce(rows, axis=axis, keepdims=True), filled)
        filled -= np.log(_totals(np.exp(filled), axis))
    return result.astype(kind, copy=False)


@composite(method=False)
def softmin(input, dim, dtype=None):
    """Softmax of the negated input."""
    return ops.softmax(-input, dim, dtype)


@composite(method=False, random=True)
def rrelu(input, lower=0.125, upper=1.0 / 3, training=False):
    """Leaky relu with a random slope per element in training, with the mean slope otherwise."""
    if not lower <= upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound, but got "
                           f"{lower} and {upper}")
    require("rrelu", "floating", input.dtype)
    if not training:
        return ops.leaky_relu(input, (lower + upper) / 2)
    slope = ops.rand(input.shape, dtype=input.dtype, device=input.device) * (upper - lower) + lower
    return ops.where(input > 0, input, input * slope)
