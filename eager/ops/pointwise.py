"""Elementwise operators: arithmetic, powers, exponentials, trigonometry, comparison, logic, bits, selection.

Each is declared once: the body in the scalar algebra is its definition; `run=` names a NumPy function that computes the same faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.blocks import against, steps
from eager.call import FLOATS, symbol
from eager.op import composite, ops, pointwise
from eager.selection import select
from eager.tensor import Tensor


def tensors_only(name: str, **operands: Any) -> None:
    """TypeError for a Python number among the operands that must be tensors."""
    for place, (parameter, value) in enumerate(operands.items(), 1):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}(): argument '{parameter}' (position {place}) must be Tensor, not {type(value).__name__}")


def _single(function):
    """A kernel of several steps, which rounds to half precision once: it computes in float32."""

    def run(*values):
        halves = [isinstance(v, np.ndarray) and v.dtype.itemsize == 2 and v.dtype.kind in "fV" for v in values]
        return function(*[v.astype(np.float32) if half else v for v, half in zip(values, halves)])

    return run


# -- arithmetic ------------------------------------------------------------------------------------


def _times(other, alpha):
    """`alpha * other`; integers wrap."""
    if isinstance(other, np.ndarray) and other.dtype.kind in "iu":
        alpha = np.asarray(dtypes.fitting(alpha, dtypes.from_numpy(other.dtype)), other.dtype)
    return np.multiply(other, alpha)


def _add(input, other, alpha):
    return np.add(input, other) if alpha == 1 else np.add(input, _times(other, alpha))


def _into(function):
    """The in-place form of a binary ufunc that takes `alpha` or nothing more."""

    def write(target, other, alpha=1):
        function(target, other if alpha == 1 else _times(other, alpha), out=target, casting="unsafe")

    return write


def _scaled(g, alpha):
    return g if alpha == 1 else g * alpha


@pointwise(vjp=(lambda g, out, a, b, alpha: g, lambda g, out, a, b, alpha: _scaled(g, _conj(alpha))), saves="", run=_add, quick=np.add)
def add(s, input, other, *, alpha=1):
    """`input + alpha * other`."""
    return input + other if alpha == 1 else input + other * alpha


def _subtract(input, other, alpha):
    return np.subtract(input, other) if alpha == 1 else np.subtract(input, _times(other, alpha))


def _no_bools(found: Any, input: Any, other: Any, alpha: Any) -> None:
    if found is dtypes.bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead."
        )
    if dtypes.bool_ in (getattr(input, "dtype", None), getattr(other, "dtype", None)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or"
            " `logical_not()` operator instead."
        )


@pointwise(
    vjp=(lambda g, out, a, b, alpha: g, lambda g, out, a, b, alpha: _scaled(-g, _conj(alpha))),
    saves="",
    run=_subtract,
    quick=np.subtract,
    refuse=_no_bools,
)
def sub(s, input, other, *, alpha=1):
    """`input - alpha * other`."""
    return input - other if alpha == 1 else input - other * alpha


@composite
def rsub(input, other, *, alpha=1):
    """`other - alpha * input`."""
    tensors_only("rsub", input=input)
    return ops.sub(other, input, alpha=alpha)


@pointwise(vjp=(lambda g, out, a, b: g * _conj(b), lambda g, out, a, b: g * _conj(a)), saves="input other", run=np.multiply, quick=np.multiply)
def mul(s, input, other):
    """`input * other`."""
    return input * other


def _conj(x: Any) -> Any:
    if isinstance(x, complex):
        return x.conjugate()
    return ops.conj(x) if isinstance(x, Tensor) and x.is_complex() else x


@pointwise(
    vjp=(lambda g, out, a, b: g / _conj(b), lambda g, out, a, b: -g * _conj(a / b / b)),
    saves="input other",
    promote="float",
    run=np.true_divide,
    inplace=True,
    quick=np.true_divide,
)
def true_divide(s, input, other):
    """`input / other`; integers divide to floats."""
    return s.div(input, other)


@composite(inplace=True)
def div(input, other, *, rounding_mode=None):
    """`input / other`, rounded towards zero (`"trunc"`) or down (`"floor"`) if asked."""
    if rounding_mode is None:
        return ops.true_divide(input, other)
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    if rounding_mode == "trunc":
        return ops.trunc_divide(input, other)
    raise RuntimeError(
        f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
    )


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind not in "iub")


def _floor_divide(input, other):
    from eager.algebra import NUMPY

    return NUMPY.floor_div(input, other)


def _steps(g, out, a, b):
    return ops.zeros_like(g)


@pointwise(vjp=(_steps, _steps), saves="", run=_floor_divide, takes="real")
def floor_divide(s, input, other):
    """The quotient rounded down. Raises RuntimeError for an integer division by zero."""
    return s.floor_div(input, other)


def _trunc_divide(input, other):
    from eager.algebra import NUMPY

    if _is_float(input) or _is_float(other):
        return np.trunc(np.true_divide(input, other))
    return NUMPY.int_div(input, other)


@pointwise(vjp=(_steps, _steps), saves="", run=_trunc_divide)
def trunc_divide(s, input, other):
    """The quotient rounded towards zero."""
    return s.int_div(input, other)


@pointwise(vjp=(lambda g, out, a, b: g, lambda g, out, a, b: -g * ops.floor_divide(a, b)), saves="input other", numbers="one", takes="real")
def remainder(s, input, other):
    """The remainder with the sign of the divisor (Python's `%`)."""
    return s.remainder(input, other)


def _fmod(input, other):
    if not _is_float(input) and not _is_float(other) and np.any(np.asarray(other) == 0):
        raise RuntimeError("ZeroDivisionError")
    return np.fmod(input, other)


@pointwise(
    vjp=(lambda g, out, a, b: g, lambda g, out, a, b: -g * ops.trunc_divide(a, b)), saves="input other", run=_fmod, numbers="right",
    takes="real",
)
def fmod(s, input, other):
    """The remainder with the sign of the dividend (C's `fmod`)."""
    return s.fmod(input, other)


def _power(input, exponent):
    if not isinstance(exponent, np.ndarray):
        if not _is_float(input) and not _is_float(exponent) and exponent < 0:
            raise ValueError("Integers to negative integer powers are not allowed.")
        if exponent == 2:
            return np.square(input)
        if exponent == 0.5:
            return np.sqrt(input)
        if exponent == -1:
            return np.true_divide(1.0, input)
        if exponent == 3:
            return input * input * input
    elif exponent.dtype.kind in "iu" and not _is_float(input):
        # NumPy refuses negative exponents; PyTorch gives 0, or 1 and -1 for bases of magnitude one
        return np.where(
            exponent < 0,
            np.where(input == 1, 1, np.where(input == -1, np.where(exponent % 2 == 0, 1, -1), 0)),
            np.power(input, np.maximum(exponent, 0)),
        )
    return np.power(input, exponent)


def _power_input(g, out, input, exponent):
    if not isinstance(exponent, Tensor):
        if exponent == 0:
            return ops.zeros_like(g)
        return g * (_conj(ops.pow(input, exponent - 1)) * exponent)
    slope = g * _conj(exponent * ops.pow(input, exponent - 1))
    return ops.where(exponent == 0, ops.zeros_like(slope), slope)


def _power_exponent(g, out, input, exponent):
    base = input if isinstance(input, Tensor) else ops.full_like(out, input)
    slope = g * _conj(out * ops.log(base))
    return ops.where((base == 0) & (exponent >= 0), ops.zeros_like(slope), slope) if not base.is_complex() else slope


@pointwise(vjp=(_power_input, _power_exponent), saves="input exponent out", run=_power, numbers="one",
    quick=_power, kinds=FLOATS,
)
def pow(s, input, exponent):
    """`input ** exponent`."""
    return s.pow(input, exponent)


def _no_negative_bool(found: Any, input: Any) -> None:
    if found is dtypes.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or"
            " `logical_not()` operator instead."
        )


@pointwise(vjp=lambda g, out, x: -g, saves="", run=np.negative, quick=np.negative, refuse=_no_negative_bool)
def neg(s, input):
    """`-input`."""
    return s.neg(input)


@composite
def positive(input):
    """`+input`, the tensor itself."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def _sign_of(x: Tensor) -> Tensor:
    return ops.sgn(x) if x.is_complex() else ops.sign(x)


def _abs_into(target):
    if target.dtype.kind == "c":
        raise RuntimeError("In-place abs is not supported for complex tensors.")
    np.abs(target, out=target)


@pointwise(vjp=lambda g, out, x: g * _sign_of(x), saves="input", run=np.abs, quick=np.abs, result="real", inplace=_abs_into)
def abs(s, input):
    """The absolute value."""
    return s.abs(input)


def _sgn(input):
    if input.dtype.kind == "b":
        return input.copy()
    if input.dtype.kind != "c":
        return np.sign(input)
    size = np.abs(input)
    return np.where(size == 0, 0, input / np.where(size == 0, 1, size))


@pointwise(vjp=lambda g, out, x: ops.zeros_like(g), saves="", run=lambda x: np.sign(x) if x.dtype.kind != "b" else x.copy(), takes="ordered")
def sign(s, input):
    """-1, 0 or 1."""
    return s.sign(input)


def _sgn_vjp(g, out, x):
    if not x.is_complex():
        return ops.zeros_like(g)
    size = ops.abs(x)
    along = out * ops.real(g * ops.conj(out))  # the part that only changes the magnitude
    return ops.where(size == 0, ops.zeros_like(g), (g - along) / size)


@pointwise(run=_sgn, vjp=_sgn_vjp, saves="input out")
def sgn(s, input):
    """The sign; for complex numbers the number of magnitude one in the same direction."""
    return s.sign(input)


@pointwise(vjp=lambda g, out, x: -g * _conj(out * out), saves="out", promote="float", run=lambda x: 1 / x)
def reciprocal(s, input):
    """`1 / input`."""
    return s.reciprocal(input)


@pointwise(vjp=lambda g, out, x: g * _conj(x * 2), saves="input", run=lambda x: np.square(x) if x.dtype.kind != "b" else x.copy(),
    result=lambda x: dtypes.int64 if x.dtype is dtypes.bool_ else x.dtype,
)
def square(s, input):
    """`input ** 2`."""
    return input * input


# -- exponentials, roots, trigonometry --------------------------------------------------------------


def _rsqrt_steps(x: np.ndarray, result: np.ndarray) -> None:
    np.sqrt(x, result)
    np.reciprocal(result, result)


def _sigmoid_slopes(g: np.ndarray, out: np.ndarray, result: np.ndarray) -> None:
    np.subtract(1, out, result)
    result *= out
    result *= g


def _tanh_slopes(g: np.ndarray, out: np.ndarray, result: np.ndarray) -> None:
    np.multiply(out, out, result)
    np.subtract(1, result, result)
    result *= g


def _by_steps(slopes: Callable) -> Callable:
    """The gradient by steps over the gradient and the result."""

    def back(g: np.ndarray, out: np.ndarray, needs: tuple, input: Any) -> tuple:
        if out.dtype in FLOATS:
            return (steps(slopes, g, out),)
        if out.dtype.kind == "c":
            return (g * np.conj(steps(slopes, np.ones_like(out), out)),)
        wide = steps(slopes, g.astype(np.float32), out.astype(np.float32))
        return (wide.astype(out.dtype),)

    return back


def _sigmoid_steps(x: np.ndarray, result: np.ndarray) -> None:
    np.negative(x, result)
    np.exp(result, result)  # infinite where the sigmoid is zero
    result += 1
    np.reciprocal(result, result)


def _unary(
    name: str, doc: str, vjp: Any = None, saves: str = "", promote: str = "float", run: Any = None, primitive: str | None = None, **given: Any
) -> Any:
    def body(s, input):
        return getattr(s, primitive or name)(input)

    body.__name__, body.__doc__, body.__module__ = name, doc, __name__
    given.setdefault("quick", run if isinstance(run, np.ufunc) else None)
    return pointwise(body, vjp=vjp, saves=saves, promote=promote, run=run, **given)


def _acosh_vjp(g, out, x):
    # two roots, for the root of the product lies on another branch left of the imaginary axis
    return g * (_conj(ops.rsqrt(x - 1) * ops.rsqrt(x + 1)) if x.is_complex() else ops.rsqrt(x * x - 1))


exp = _unary("exp", "e to the power of the input.", lambda g, out, x: g * _conj(out), "out", run=np.exp)
exp2 = _unary("exp2", "2 to the power of the input.", lambda g, out, x: g * _conj(out) * math.log(2), "out", run=np.exp2)
expm1 = _unary("expm1", "`exp(input) - 1`, accurate near 0.", lambda g, out, x: g * _conj(out + 1), "out", run=np.expm1)
log = _unary("log", "The natural logarithm.", lambda g, out, x: g / _conj(x), "input", run=np.log)
log1p = _unary("log1p", "`log(1 + input)`, accurate near 0.", lambda g, out, x: g / _conj(x + 1), "input", run=np.log1p)
log2 = _unary("log2", "The logarithm to base 2.", lambda g, out, x: g / _conj(x * math.log(2)), "input", run=np.log2)
log10 = _unary("log10", "The logarithm to base 10.", lambda g, out, x: g / _conj(x * math.log(10)), "input", run=np.log10)
sqrt = _unary("sqrt", "The square root.", lambda g, out, x: g / (_conj(out) * 2), "out", run=np.sqrt)
rsqrt = _unary(
    "rsqrt", "`1 / sqrt(input)`.", lambda g, out, x: g * _conj(out * out * out) * -0.5, "out", quick=lambda x: steps(_rsqrt_steps, x)
)
sin = _unary("sin", "The sine.", lambda g, out, x: g * _conj(ops.cos(x)), "input", run=np.sin)
cos = _unary("cos", "The cosine.", lambda g, out, x: -g * _conj(ops.sin(x)), "input", run=np.cos)
tan = _unary("tan", "The tangent.", lambda g, out, x: g * _conj(out * out + 1), "out", run=np.tan)
asin = _unary("asin", "The inverse sine.", lambda g, out, x: g * _conj(ops.rsqrt(1 - x * x)), "input", run=np.arcsin)
acos = _unary("acos", "The inverse cosine.", lambda g, out, x: -g * _conj(ops.rsqrt(1 - x * x)), "input", run=np.arccos)
atan = _unary("atan", "The inverse tangent.", lambda g, out, x: g / _conj(x * x + 1), "input", run=np.arctan)
sinh = _unary("sinh", "The hyperbolic sine.", lambda g, out, x: g * _conj(ops.cosh(x)), "input", run=np.sinh)
cosh = _unary("cosh", "The hyperbolic cosine.", lambda g, out, x: g * _conj(ops.sinh(x)), "input", run=np.cosh)
tanh = _unary("tanh", "The hyperbolic tangent.", lambda g, out, x: g * _conj(1 - out * out), "out", run=np.tanh, back=_by_steps(_tanh_slopes))
asinh = _unary("asinh", "The inverse hyperbolic sine.", lambda g, out, x: g * _conj(ops.rsqrt(x * x + 1)), "input", run=np.arcsinh)
acosh = _unary("acosh", "The inverse hyperbolic cosine.", _acosh_vjp, "input", run=np.arccosh)
atanh = _unary("atanh", "The inverse hyperbolic tangent.", lambda g, out, x: g / _conj(1 - x * x), "input", run=np.arctanh)
_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
erf = _unary("erf", "The error function.", lambda g, out, x: g * (ops.exp(-(x * x)) * _TWO_OVER_SQRT_PI), "input", takes="ordered")
erfc = _unary(
    "erfc", "`1 - erf(input)`, accurate for large inputs.", lambda g, out, x: g * (ops.exp(-(x * x)) * -_TWO_OVER_SQRT_PI), "input",
    takes="ordered",
)
erfinv = _unary("erfinv", "The inverse error function.", lambda g, out, x: g * (ops.exp(out * out) / _TWO_OVER_SQRT_PI), "out", takes="ordered")
lgamma = _unary(
    "lgamma", "The logarithm of the absolute value of the gamma function.", lambda g, out, x: g * ops.digamma(x), "input", takes="ordered"
)
digamma = _unary("digamma", "The derivative of `lgamma`.", lambda g, out, x: g * ops.polygamma(1, x), "input", takes="ordered")
i0 = _unary("i0", "The modified Bessel function of the first kind of order 0.", lambda g, out, x: g * ops.special_i1(x), "input")
sigmoid = _unary(
    "sigmoid", "`1 / (1 + exp(-input))`.", lambda g, out, x: g * _conj((1 - out) * out), "out",
    quick=lambda x: steps(_sigmoid_steps, x), back=_by_steps(_sigmoid_slopes),
)


def _flat(g, out, x):
    return ops.zeros_like(g)


def _rounding(function):
    """A function that leaves integers as they are."""
    return lambda x: x.copy() if x.dtype.kind in "iub" else function(x)


floor = _unary("floor", "Rounded down.", _flat, promote="default", run=_rounding(np.floor), takes="real")
ceil = _unary("ceil", "Rounded up.", _flat, promote="default", run=_rounding(np.ceil), takes="real")
trunc = _unary("trunc", "Rounded towards zero.", _flat, promote="default", run=_rounding(np.trunc), takes="real")


def _round(input, decimals):
    return np.round(input, decimals) if decimals or input.dtype.kind in "iu" else np.rint(input)


@pointwise(vjp=lambda g, out, x, decimals: ops.zeros_like(g), saves="", run=_round, takes="real")
def round(s, input, *, decimals=0):
    """To the nearest integer (or decimal place), halves to even."""
    if decimals == 0:
        return s.round(input)
    scale = 10.0**decimals
    return s.round(input * scale) / scale


@composite(inplace=True)
def frac(input):
    """The fractional part, with the sign of the input."""
    return input - ops.trunc(input)


@composite(inplace=True)
def logit(input, eps=None):
    """`log(input / (1 - input))`, the input clamped to `[eps, 1 - eps]` if eps is given."""
    if input.dtype.category < dtypes.FLOATING:
        input = ops.convert(input, dtypes.get_default_dtype())
    x = input if eps is None else ops.clamp(input, eps, 1 - eps)
    return ops.log(x / (1 - x))


@pointwise(
    vjp=(lambda g, out, a, b: g * (b / (a * a + b * b)), lambda g, out, a, b: -g * (a / (a * a + b * b))),
    saves="input other", promote="float", run=np.arctan2, numbers="none",
)
def atan2(s, input, other):
    """The angle of the point (other, input)."""
    return s.atan2(input, other)


@pointwise(
    vjp=(lambda g, out, a, b: g * (a / out), lambda g, out, a, b: g * (b / out)), saves="input other out", run=np.hypot, numbers="none",
    takes="real",
)
def hypot(s, input, other):
    """`sqrt(input**2 + other**2)` without overflow."""
    return s.hypot(input, other)


@pointwise(
    vjp=(lambda g, out, a, b: ops.where(a == 0, ops.zeros_like(g), g * (out / a)), lambda g, out, a, b: ops.zeros_like(g)),
    saves="input out", promote="float", run=np.copysign, numbers="right",
)
def copysign(s, input, other):
    """The magnitude of `input` with the sign of `other`."""
    return s.copysign(input, other)


@pointwise(run=np.nextafter, vjp=(lambda g, out, a, b: g, _steps), saves="", numbers="none", takes="real")
def nextafter(s, input, other):
    """The next number after `input` towards `other`."""
    return s.nextafter(input, other)


@composite(inplace=True)
def ldexp(input, other):
    """`input * 2**other`."""
    tensors_only("ldexp", input=input, other=other)
    return input * ops.pow(2.0, other)


def _logaddexp(input, other):
    if input.dtype.kind != "c":
        return np.logaddexp(input, other)
    top = np.where(input.real >= other.real, input, other)
    return top + np.log1p(np.exp(np.where(input.real >= other.real, other, input) - top))


@pointwise(
    vjp=(lambda g, out, a, b: g * _conj(ops.exp(a - out)), lambda g, out, a, b: g * _conj(ops.exp(b - out))),
    saves="input other out",
    promote="float",
    run=_logaddexp,
    numbers="none",
)
def logaddexp(s, input, other):
    """`log(exp(input) + exp(other))` without overflow."""
    top = s.maximum(input, other)
    gap = s.where(s.eq(input, other), s.mul(input, 0.0), s.minimum(input, other) - top)
    gap = s.where(s.isinf(top), s.where(s.eq(input, other), gap * 0.0, -s.abs(gap)), gap)
    return s.where(s.eq(input, other) & s.isinf(input), input, top + s.log1p(s.exp(gap)))


@composite(inplace=True)
def xlogy(input, other):
    """`input * log(other)`, 0 where input is 0."""
    if not isinstance(other, Tensor):
        tensors_only("xlogy", input=input)
    y = other if isinstance(other, Tensor) else ops.full_like(input, other)
    x = input if isinstance(input, Tensor) else ops.full_like(y, input)
    product = x * ops.log(y)
    return ops.where((x == 0) & ~ops.isnan(y), ops.zeros_like(product), product)


# -- extrema and selection --------------------------------------------------------------------------


def _extremum(g: Any, chosen: Any, tie: Any) -> Tensor:
    """A gradient for the chosen operand; equal operands share it."""
    return ops.where(tie, g / 2, ops.where(chosen, g, ops.zeros_like(g)))


@pointwise(
    vjp=(
        lambda g, out, a, b: _extremum(g, a > b, a == b),
        lambda g, out, a, b: _extremum(g, b > a, a == b),
    ),
    saves="input other",
    run=np.maximum,
    inplace=False,
    numbers="none",
    takes="ordered",
)
def maximum(s, input, other):
    """The larger of two values; NaN if either is."""
    return s.maximum(input, other)


@pointwise(
    vjp=(
        lambda g, out, a, b: _extremum(g, a < b, a == b),
        lambda g, out, a, b: _extremum(g, b < a, a == b),
    ),
    saves="input other",
    run=np.minimum,
    inplace=False,
    numbers="none",
    takes="ordered",
)
def minimum(s, input, other):
    """The smaller of two values; NaN if either is."""
    return s.minimum(input, other)


@pointwise(
    vjp=(
        lambda g, out, a, b: ops.where((a >= b) | ops.isnan(b), g, ops.zeros_like(g)),
        lambda g, out, a, b: ops.where((a >= b) | ops.isnan(b), ops.zeros_like(g), g),
    ),
    run=np.fmax,
    inplace=False,
    numbers="none",
    takes="ordered",
)
def fmax(s, input, other):
    """The larger of two values; of a NaN and a number, the number."""
    return s.fmax(input, other)


@pointwise(
    vjp=(
        lambda g, out, a, b: ops.where((a <= b) | ops.isnan(b), g, ops.zeros_like(g)),
        lambda g, out, a, b: ops.where((a <= b) | ops.isnan(b), ops.zeros_like(g), g),
    ),
    run=np.fmin,
    inplace=False,
    numbers="none",
    takes="ordered",
)
def fmin(s, input, other):
    """The smaller of two values; of a NaN and a number, the number."""
    return s.fmin(input, other)


def _bounded(ufunc, input, bound):
    """One of the bounds; large arrays of one type meet a number as a block of it."""
    if type(bound) is float and input.dtype in FLOATS:
        return against(ufunc, input, bound)
    return ufunc(input, bound)


def _clamp(input, min, max):
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    result = input if min is None else _bounded(np.maximum, input, min)
    return result if max is None else _bounded(np.minimum, result, max)


def _clamp_input(g, out, input, min, max):
    inside = None
    if min is not None:
        inside = input >= min
    if max is not None:
        inside = input <= max if inside is None else inside & (input <= max)
    return ops.where(inside, g, ops.zeros_like(g))


@pointwise(
    vjp=(
        _clamp_input,
        lambda g, out, x, low, high: ops.where((x < low) if high is None else (x < low) & (low < high), g, ops.zeros_like(g)),
        lambda g, out, x, low, high: ops.where((x > high) if low is None else (x > high) | (low >= high), g, ops.zeros_like(g)),
    ),
    operands="input min max", run=_clamp,
    takes="real",
)
def clamp(s, input, min=None, max=None):
    """The input between bounds (numbers or tensors)."""
    result = input if min is None else s.maximum(input, min)
    return result if max is None else s.minimum(result, max)


@composite(inplace=True)
def clip(input, min=None, max=None):
    """`clamp` under NumPy's name."""
    return ops.clamp(input, min, max)


@composite(inplace=True)
def clamp_min(input, min):
    """`clamp(input, min=min)`."""
    tensors_only("clamp_min", input=input)
    return ops.clamp(input, min, None)


@composite(inplace=True)
def clamp_max(input, max):
    """`clamp(input, max=max)`."""
    tensors_only("clamp_max", input=input)
    return ops.clamp(input, None, max)


def _where_check(condition):
    if condition.dtype != np.bool_:
        if condition.dtype != np.uint8:
            raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")
        return condition != 0
    return condition


@pointwise(
    name="select_where", method=False, inplace=False,
    vjp=(None, lambda g, out, c, a, b: ops.select_where(c, g, ops.zeros_like(g)), lambda g, out, c, a, b: ops.select_where(c, ops.zeros_like(g), g)),
    operands="input other", saves="condition", run=lambda c, a, b: select(_where_check(c), a, b),
)
def select_where(s, condition, input, other):
    """`input` where the condition holds, `other` elsewhere."""
    return s.where(condition, input, other)


@composite(method=False)
def where(condition, input=None, other=None):
    """`input` where the condition holds, `other` elsewhere; with one argument, the indices where it holds."""
    if input is None and other is None:
        return ops.nonzero(condition, as_tuple=True)
    _require_condition(condition)
    return ops.select_where(condition, input, other)


def _require_condition(condition: Any) -> None:
    """The kernel says so as well, but a compiled program has another one."""
    if isinstance(condition, Tensor) and condition.dtype.name not in ("bool", "uint8"):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )


def _tensor_where(self, condition, other):
    _require_condition(condition)
    return ops.select_where(condition, self, other)


Tensor.where = _tensor_where  # type: ignore[attr-defined]


@composite(inplace=True)
def nan_to_num(input, nan=None, posinf=None, neginf=None):
    """NaN and infinities replaced by numbers; infinities by default by the type's largest."""
    if input.dtype.category < dtypes.FLOATING:
        return ops.clone(input)
    largest = dtypes.finfo(input.dtype).max
    result = ops.where(ops.isnan(input), nan or 0.0, input)
    result = ops.where(input == math.inf, largest if posinf is None else posinf, result)
    return ops.where(input == -math.inf, -largest if neginf is None else neginf, result)


# -- comparison, logic, bits -----------------------------------------------------------------------


def _binary(name: str, doc: str, promote: str, run: Any, primitive: str | None = None, **given: Any) -> Any:
    def body(s, input, other):
        return getattr(s, primitive or name)(input, other)

    body.__name__, body.__doc__, body.__module__ = name, doc, __name__
    quick = run if promote == "bool" else None
    return pointwise(body, promote=promote, run=run, quick=quick, **given)


def _bits(name: str) -> dict[str, Any]:
    """What an operator on integers, and on bools unless it shifts or divides, refuses."""

    def refuse(found: Any, *bound: Any) -> None:
        if found.category >= dtypes.FLOATING or (found is dtypes.bool_ and not name.startswith("bitwise")):
            raise NotImplementedError(f'"{name}_cpu" not implemented for {found.name!r}: it takes integers')

    return {"promote": "default", "refuse": refuse}


eq = _binary("eq", "`input == other`.", "bool", np.equal, numbers="right")
ne = _binary("ne", "`input != other`.", "bool", np.not_equal, numbers="right")
lt = _binary("lt", "`input < other`.", "bool", np.less, numbers="right", takes="ordered")
le = _binary("le", "`input <= other`.", "bool", np.less_equal, numbers="right", takes="ordered")
gt = _binary("gt", "`input > other`.", "bool", np.greater, numbers="right", takes="ordered")
ge = _binary("ge", "`input >= other`.", "bool", np.greater_equal, numbers="right", takes="ordered")
logical_and = _binary("logical_and", "Whether both are non-zero.", "bool", np.logical_and, numbers="none")
logical_or = _binary("logical_or", "Whether either is non-zero.", "bool", np.logical_or, numbers="none")
logical_xor = _binary("logical_xor", "Whether exactly one is non-zero.", "bool", np.logical_xor, numbers="none")
bitwise_and = _binary("bitwise_and", "Bitwise and.", run=np.bitwise_and, **_bits("bitwise_and"), numbers="one")
bitwise_or = _binary("bitwise_or", "Bitwise or.", run=np.bitwise_or, **_bits("bitwise_or"), numbers="one")
bitwise_xor = _binary("bitwise_xor", "Bitwise exclusive or.", run=np.bitwise_xor, **_bits("bitwise_xor"), numbers="one")
bitwise_left_shift = _binary("bitwise_left_shift", "`input << other`.", run=np.left_shift, primitive="left_shift", **_bits("lshift"), numbers="one")
bitwise_right_shift = _binary(
    "bitwise_right_shift", "`input >> other`.", run=np.right_shift, primitive="right_shift", **_bits("bitwise_rshift"), numbers="one"
)
gcd = _binary("gcd", "The greatest common divisor.", run=np.gcd, **_bits("gcd"), numbers="none")
lcm = _binary("lcm", "The least common multiple.", run=np.lcm, **_bits("lcm"), numbers="none")
isnan = _unary("isnan", "Whether each element is NaN.", promote="bool", run=np.isnan)
isinf = _unary("isinf", "Whether each element is infinite.", promote="bool", run=np.isinf)
isfinite = _unary("isfinite", "Whether each element is a finite number.", promote="bool", run=np.isfinite)
signbit = _unary("signbit", "Whether the sign bit is set.", promote="bool", run=lambda x: x < 0 if x.dtype.kind in "iub" else np.signbit(x))
logical_not = _unary("logical_not", "Whether each element is zero.", promote="bool", run=np.logical_not)
bitwise_not = _unary("bitwise_not", "Each bit inverted.", run=np.invert, **_bits("bitwise_not"))


@composite
def isposinf(input):
    """Whether each element is +inf."""
    return input == math.inf


@composite
def isneginf(input):
    """Whether each element is -inf."""
    return input == -math.inf


@composite
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """`|input - other| <= atol + rtol * |other|`, elementwise."""
    tensors_only("isclose", input=input, other=other)
    tensors_only("isclose", input=input, other=other)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    if input.dtype is dtypes.bool_ and other.dtype is dtypes.bool_:
        input, other = ops.convert(input, dtypes.int64), ops.convert(other, dtypes.int64)
    close = (input == other) | (ops.isfinite(input) & ops.isfinite(other) & (ops.abs(input - other) <= atol + ops.abs(other) * rtol))
    return close | (ops.isnan(input) & ops.isnan(other)) if equal_nan else close


@composite
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close (`isclose`), as a Python bool."""
    return bool(ops.all(ops.isclose(input, other, rtol, atol, equal_nan)))


@composite
def equal(input, other):
    """Whether two tensors have the same shape and values, as a Python bool."""
    return tuple(input.shape) == tuple(other.shape) and bool(ops.all(input == other))


# -- complex numbers -------------------------------------------------------------------------------

conjugate = _unary(
    "conjugate", "The complex conjugate of complex numbers.", lambda g, out, x: ops.conj(g), promote="default", run=np.conj, primitive="conj",
)


@composite(inplace=True)
def conj(input):
    """The complex conjugate; real tensors are their own."""
    return ops.conjugate(input) if input.is_complex() else input


def _angle_vjp(g, out, x):
    if not x.is_complex():
        return ops.zeros_like(g)
    return x * ops.complex(ops.zeros_like(g), g / ops.square(ops.abs(x)))


@pointwise(
    result="real", run=lambda x: np.angle(x).astype(x.real.dtype), promote="float", inplace=False, vjp=_angle_vjp, saves="input",
)
def angle(s, input):
    """The angle of a complex number in radians."""
    return s.angle(input)


# -- fused forms -----------------------------------------------------------------------------------


@pointwise(
    vjp=(
        lambda g, out, x, a, b, value: g,
        lambda g, out, x, a, b, value: g * _conj(b) * _conj(value),
        lambda g, out, x, a, b, value: g * _conj(a) * _conj(value),
    ),
    saves="tensor1 tensor2",
)
def addcmul(s, input, tensor1, tensor2, *, value=1):
    """`input + value * tensor1 * tensor2`."""
    return input + tensor1 * tensor2 * value if value != 1 else input + tensor1 * tensor2


@pointwise(
    vjp=(
        lambda g, out, x, a, b, value: g,
        lambda g, out, x, a, b, value: g / _conj(b) * _conj(value),
        lambda g, out, x, a, b, value: -g * _conj(a / (b * b)) * _conj(value),
    ),
    saves="tensor1 tensor2",
)
def addcdiv(s, input, tensor1, tensor2, *, value=1):
    """`input + value * tensor1 / tensor2`."""
    return input + s.div(tensor1, tensor2) * value if value != 1 else input + s.div(tensor1, tensor2)


@pointwise(
    vjp=(lambda g, out, a, b, w: g * _conj(1 - w), lambda g, out, a, b, w: g * _conj(w), lambda g, out, a, b, w: g * _conj(b - a)),
    saves="input end weight",
    run=_single(lambda input, end, weight: np.where(np.abs(weight) < 0.5, input + (end - input) * weight, end - (end - input) * (1 - weight))),
)
def lerp(s, input, end, weight):
    """Linear interpolation: `input + weight * (end - input)`."""
    return input + (end - input) * weight


@composite(inplace=True)
def heaviside(input, values):
    """0 below zero, 1 above, `values` at zero."""
    tensors_only("heaviside", input=input, values=values)
    return ops.where(input == 0, values, ops.convert(input > 0, input.dtype))


def _sinc_vjp(g, out, input):
    zero = input == 0
    x = ops.where(zero, ops.ones_like(input), input)
    slope = (ops.cos(x * math.pi) * (x * math.pi) - ops.sin(x * math.pi)) / (x * x * math.pi)
    return g * _conj(ops.where(zero, ops.zeros_like(slope), slope))


def _sinc(input):
    x = np.where(input == 0, 1, input) * math.pi
    return np.where(input == 0, 1, np.sin(x) / x)


@pointwise(promote="float", saves="input", vjp=_sinc_vjp, run=_single(_sinc))
def sinc(s, input):
    """`sin(pi x) / (pi x)`, 1 at 0."""
    x = s.where(input == 0, 1.0, input) * math.pi
    return s.where(input == 0, 1.0, s.div(s.sin(x), x))


@composite(inplace=True)
def deg2rad(input):
    """Degrees to radians."""
    return input * (math.pi / 180)


@composite(inplace=True)
def rad2deg(input):
    """Radians to degrees."""
    return input * (180 / math.pi)


def _alias_of(name: str, target: str) -> None:
    def call(*args, **kwargs):
        return getattr(ops, target)(*args, **kwargs)

    from eager.registry import registry

    registry[name] = registry[target]
    call.__name__, call.__doc__ = name, f"Another name of `{target}`."
    if name not in Tensor.__dict__:
        setattr(Tensor, name, call)
    in_place = registry.get(target + "_")
    if in_place is not None:
        registry[name + "_"] = in_place
        setattr(Tensor, name + "_", lambda self, *a, **k: in_place(self, *a, **k))


for _name, _target in dict(
    subtract="sub", multiply="mul", divide="div", negative="neg", absolute="abs", arcsin="asin", arccos="acos", arctan="atan",
    arctan2="atan2", arcsinh="asinh", arccosh="acosh", arctanh="atanh", fix="trunc", greater="gt", greater_equal="ge", less="lt",
    less_equal="le", not_equal="ne", conj_physical="conj",
).items():
    _alias_of(_name, _target)

# Symbols go straight to the operator on operands of one type; `/` is `div` for interpreters only.
for _name, _op in dict(
    add=add, sub=sub, mul=mul, truediv=true_divide, pow=pow, eq=eq, ne=ne, lt=lt, le=le, gt=gt, ge=ge,
).items():
    for _form in (f"__{_name}__", f"__r{_name}__", f"__i{_name}__"):
        if _form in Tensor.__dict__:
            _target = _op.in_place if _form[2] == "i" else _op
            _made = symbol(_target, _form, Tensor.__dict__[_form], _form[2:3] == "r")
            setattr(Tensor, _form, _made)
Tensor.__rdiv__ = Tensor.__rtruediv__  # type: ignore[attr-defined]  # Python 2's name of it, which PyTorch keeps
